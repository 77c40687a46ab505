//! How a list is printed: for programs, or for people, page by page where it is long. The pager is chosen as for git(1) and
//! systemctl(1).

use crate::cli::Call;
use crate::cli::world::Host;

/// How to print a list.
#[derive(clap::Args)]
pub(super) struct Form {
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
    /// Print a long list at once, not page by page
    #[arg(long)]
    no_pager: bool,
}

impl Form {
    /// Whether it is for people, who did not ask for all of it at once.
    pub(super) fn is_paged(&self) -> bool {
        !self.json && !self.no_pager
    }
}

/// Who shows a text page by page.
#[derive(Debug, PartialEq, Eq)]
enum Pager {
    Nobody,
    Less,
    Command(Vec<u8>),
}

/// Prints a text page by page, or at once where there is no terminal or no pager.
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
        // Nothing can be paged on a terminal that only goes forward.
        if host.variable("TERM").is_none_or(|term| term == b"dumb") {
            return Pager::Nobody;
        }
        match ["KMOD_PAGER", "PAGER"].into_iter().find_map(|name| host.variable(name)) {
            Some(command) if command.is_empty() || command == b"cat" => Pager::Nobody,
            // Whoever may give this one command through sudo(8) may not for that start a program of theirs. As systemctl.
            Some(command) if host.variable("SUDO_UID").is_none() => Pager::Command(command),
            _ => Pager::Less,
        }
    }
}
