//! How a list is printed: as JSON, or for people, page by page if it is long. The pager is chosen as by git(1) and
//! systemctl(1).

use crate::cli::Call;

/// How to print a list.
#[derive(clap::Args)]
pub(super) struct OutputForm {
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
    /// Print a long list at once, not page by page
    #[arg(long)]
    no_pager: bool,
}

impl OutputForm {
    /// Whether it may be shown page by page.
    pub(super) fn is_paged(&self) -> bool {
        !self.json && !self.no_pager
    }
}

/// Prints a text page by page, or at once if there is no terminal or no pager.
pub(super) fn show(call: &Call<'_>, text: &str) {
    let host = call.world.host;
    let page = |command: Option<&[u8]>| host.page(command, text.as_bytes());
    call.world.streams.flush();
    let shown = match ["KMOD_PAGER", "PAGER"].into_iter().find_map(|name| host.variable(name)) {
        // A dumb terminal cannot page.
        _ if text.is_empty() || host.variable("TERM").is_none_or(|term| term == b"dumb") => false,
        Some(command) if command.is_empty() || command == b"cat" => false,
        // sudo(8) may allow this command alone: then the caller must not choose a program that runs as root.
        Some(command) if host.variable("SUDO_UID").is_none() => page(Some(&command)),
        _ => page(None),
    };
    if !shown {
        call.print(text.as_bytes());
    }
}
