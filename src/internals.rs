//! What the tests, the benchmarks and the fuzz targets use of the crate, under the paths that it has inside. No stable
//! interface. What is not named here is private, so the compiler finds unused code.

pub mod check {
    pub use crate::check::{Part, Request, run};
}
pub mod cli {
    pub use crate::cli::{help, run};
    pub mod getopt {
        pub use crate::cli::getopt::{Opt, Order, Parser, Spelling, opt};
    }
    pub mod modprobe {
        pub mod args {
            pub use crate::cli::modprobe::args::split;
        }
    }
    pub mod own {
        pub use crate::cli::own::commands;
    }
    pub mod streams {
        pub use crate::cli::streams::{Memory, Streams};
    }
    pub mod world {
        pub use crate::cli::world::{Host, World};
    }
}
pub mod config {
    pub use crate::config::{Config, Entry, Forbids, Kind};
    pub mod cmdline {
        pub use crate::config::cmdline::{Option, parse};
    }
}
pub mod depmod {
    pub use crate::depmod::{Outputs, Request, run};
    pub mod cache {
        pub use crate::depmod::cache::{CacheFile, Remembered, render};
    }
    pub mod cycles {
        pub use crate::depmod::cycles::find;
    }
    pub mod digest {
        pub use crate::depmod::digest::Digest;
    }
    pub mod facts {
        pub use crate::depmod::facts::{Facts, Reader, Wanted};
    }
    pub mod interner {
        pub use crate::depmod::interner::{InternedFacts, Interner};
    }
    pub mod order {
        pub use crate::depmod::order::sort;
    }
    pub mod output {
        pub use crate::depmod::output::{Sources, all};
    }
    pub mod resolve {
        pub use crate::depmod::resolve::{Reports, dependencies, topological_numbers};
    }
    pub mod scan {
        pub use crate::depmod::scan::Module;
    }
    pub mod settings {
        pub use crate::depmod::settings::{SearchWord, Settings};
    }
    pub mod symbols {
        pub use crate::depmod::symbols::Table;
    }
}
pub mod error {
    pub use crate::error::{Errno, Result};
}
pub mod formats {
    pub mod compress {
        pub use crate::formats::compress::{Compression, decompress, detect, image, inflate};
    }
    pub mod elf {
        pub use crate::formats::elf::{
            Elf, Search, SearchStatus, exports, needed, strip_modversions, strip_vermagic, versions,
        };
    }
    pub mod index {
        pub use crate::formats::index::{Found, Index, IndexBuilder, Reader, unfit};
    }
    pub mod kernel_decoder {
        pub use crate::formats::kernel_decoder::{HEAD, may_take, takes_all_of};
    }
    pub mod kmsg {
        pub use crate::formats::kmsg::{Record, is_about, meaning, records};
    }
    pub mod modinfo {
        pub use crate::formats::modinfo::{
            build_id, builtin, builtin_info, hex, info, module_name, parameters,
        };
    }
    pub mod number {
        pub use crate::formats::number::unsigned;
    }
    pub mod pattern {
        pub use crate::formats::pattern::fnmatch;
    }
    pub mod reading {
        pub use crate::formats::reading::{Depth, Reading, read};
    }
    pub mod signature {
        pub use crate::formats::signature::parse;
    }
    pub mod text {
        pub use crate::formats::text::{alias_search, aliases, builtin_contains, builtins, dep_line};
    }
}
pub mod gate {
    pub use crate::gate::MARK;
    pub mod counters {
        pub use crate::gate::counters::Counters;
    }
    pub mod protocol {
        pub use crate::gate::machine::Machine;
        pub use crate::gate::protocol::{
            Action, Attempt, CALLER_ERRNOS, End, Ended, Failure, FailureCache, Guard, LONGEST_SLICE, Lock,
            MODULE_FILE_WAIT, MODULE_FILE_WAIT_LATE, Purpose, Relation, Request, Rules, SYMBOL_ERRNOS, Seen,
        };
    }
    pub mod record {
        pub use crate::gate::record::{FILE_LENGTH, Record};
    }
    pub mod settings {
        pub use crate::gate::settings::Settings;
    }
}
pub mod limits {
    pub use crate::limits::{CMDLINE, INDEX_KEY, LOOKUP_RESULTS, QUERY};
}
pub mod log {
    pub use crate::log::{Kept, Priority, Silent};
}
pub mod name {
    pub use crate::name::{ModuleName, alias, canonical, from_path, is_module_file};
}
pub mod system {
    pub use crate::system::{Roots, System};
    pub mod clock {
        pub use crate::system::clock::Real;
    }
    pub mod kernel {
        pub use crate::system::kernel::Linux;
    }
    pub mod map {
        pub use crate::system::map::{install_sigbus_handler, open};
    }
    pub mod sysfs {
        pub use crate::system::sysfs::State;
    }
}
pub mod tree {
    pub use crate::tree::ConfigPaths;
}
