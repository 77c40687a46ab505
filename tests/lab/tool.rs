//! The tools under test.

/// A set of module tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// This project's.
    Ours,
    /// The same, and its libkmod.so.2 in the place of the distribution's.
    Library,
    /// Debian 12's kmod 30.
    Kmod30,
    /// Debian 13's kmod 34.2.
    Kmod34,
    /// The modprobe of Debian 13's busybox.
    Busybox,
}

impl Tool {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ours, Self::Library, Self::Kmod30, Self::Kmod34, Self::Busybox];

    /// The name in tables and in the guest's `/tools`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "kmod-once",
            Self::Library => "libkmod-once",
            Self::Kmod30 => "kmod-30",
            Self::Kmod34 => "kmod-34",
            Self::Busybox => "busybox",
        }
    }

    /// The tool of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    /// The Debian release it comes with; none for ours.
    pub fn suite(self) -> Option<&'static str> {
        match self {
            Self::Ours | Self::Library => None,
            Self::Kmod30 => Some("bookworm"),
            Self::Kmod34 | Self::Busybox => Some("trixie"),
        }
    }

    /// The stock tool that is measured beside ours on a kernel, by the kernel's first two numbers: the one of the release that
    /// the kernel belongs to, or of the next one that is compared with.
    pub fn stock(kernel: &str) -> Self {
        if ["5.10", "6.1"].contains(&kernel) { Self::Kmod30 } else { Self::Kmod34 }
    }
}
