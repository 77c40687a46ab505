//! How a list is printed: as JSON, or for people, page by page if it is long. The pager is chosen as by git(1) and
//! systemctl(1).

use crate::cli::Call;
use crate::cli::world::Host;

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

/// The program that shows a text page by page.
#[derive(Debug, PartialEq, Eq)]
enum Pager {
    Nobody,
    Less,
    Command(Vec<u8>),
}

/// Prints a text page by page, or at once if there is no terminal or no pager.
pub(super) fn show(call: &Call<'_>, text: &str) {
    let host = call.world.host;
    call.world.streams.flush();
    let shown = !text.is_empty()
        && match Pager::chosen(host) {
            Pager::Nobody => false,
            Pager::Less => host.page(None, text.as_bytes()),
            Pager::Command(command) => host.page(Some(&command), text.as_bytes()),
        };
    if !shown {
        call.print(text.as_bytes());
    }
}

impl Pager {
    fn chosen(host: &dyn Host) -> Pager {
        // A dumb terminal cannot page.
        if host.variable("TERM").is_none_or(|term| term == b"dumb") {
            return Pager::Nobody;
        }
        match ["KMOD_PAGER", "PAGER"].into_iter().find_map(|name| host.variable(name)) {
            Some(command) if command.is_empty() || command == b"cat" => Pager::Nobody,
            // sudo(8) may allow this command alone: then the caller must not choose a program that runs as root. As
            // systemctl(1).
            Some(command) if host.variable("SUDO_UID").is_none() => Pager::Command(command),
            _ => Pager::Less,
        }
    }
}
