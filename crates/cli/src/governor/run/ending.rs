//! How a command ended, as an exit code.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// Its own exit code, or 128 + N where signal N ended it, as a shell has it.
pub(super) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    // Exit codes have 8 bits.
    code.and_then(|code| u8::try_from(code & 0xFF).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_count_from_128() {
        assert_eq!(exit_code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(exit_code(ExitStatus::from_raw(15)), 143);
        assert_eq!(exit_code(ExitStatus::from_raw(0)), 0);
    }
}
