mod aimd;
mod bucket;
mod meter;

pub use self::aimd::Aimd;
pub use self::bucket::Bucket;
pub(crate) use self::meter::Meter;
