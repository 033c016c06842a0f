use clap::Args;

/// What choria's scripts call [impact:rw]
///
/// Answers and errors are JSON on stdout; exit 0 or 1.
///
/// Nothing is checked by the grammar, as the answers are part of the interface.
#[derive(Args, Debug)]
pub(crate) struct ApiArgs {
    /// Whether this works at all.
    #[arg(long)]
    pub(crate) check: bool,
    /// Makes the governor, or changes it to what is said.
    #[arg(long)]
    pub(crate) ensure: bool,
    /// Lists governors.
    #[arg(long)]
    pub(crate) list: bool,
    /// Removes a governor, or finds that there is none.
    #[arg(long)]
    pub(crate) delete: bool,
    /// Which governor.
    #[arg(long, default_value = "")]
    pub(crate) name: String,
    /// How many slots.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) capacity: i64,
    /// For how many seconds a slot lasts.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) expire: i64,
    /// Copies in the cluster.
    #[arg(long, default_value_t = 1, allow_negative_numbers = true)]
    pub(crate) replicas: i64,
    /// First token of the subject.
    #[arg(long, default_value = "")]
    pub(crate) collective: String,
}
