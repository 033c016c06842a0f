//! The contract of `LeasePool` as tests, and decorators that inject faults.
