use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A line on stderr that is drawn again and again, where somebody sees it.
pub(crate) fn status_line() -> Option<ProgressBar> {
    let wanted = io::stderr().is_terminal() && std::env::var_os("CI").is_none();
    wanted.then(|| {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        let style = ProgressStyle::with_template("{msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar
    })
}
