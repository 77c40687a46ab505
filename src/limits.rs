//! Every cap in one place. Each bounds what a broken or hostile input can cost in memory or time.

use std::time::Duration;

/// The longest module name that is used as a file name of the gate, in bytes: the kernel's own limit on 64-bit machines
/// (`MODULE_NAME_LEN` = 64 - sizeof(unsigned long), less the final NUL; include/linux/moduleparam.h).
pub(crate) const MODULE_NAME: usize = 55;
/// The longest name, alias or query that is looked up, in bytes (kmod's buffers are `PATH_MAX` long).
pub const QUERY: usize = 4095;
/// The longest symbol name that is read, in bytes; a longer one is ignored. The kernel's limit is 511 (`KSYM_NAME_LEN`).
pub(crate) const SYMBOL_NAME: usize = 4095;

/// The largest module once decompressed, in bytes. The largest Debian ships (amdgpu, with debug information) is under
/// 500 MiB; a small file that inflates beyond this is an attack or a mistake.
pub(crate) const INFLATED: u64 = 1 << 30;
/// How long to wait for a writer to open a FIFO that holds a module and to write its first byte.
pub(crate) const PIPE_WRITER: Duration = Duration::from_secs(10);
/// How long to wait for the next bytes from a pipe that holds a module.
pub(crate) const PIPE_SILENCE: Duration = Duration::from_secs(60);

/// The longest key that a walk of a `.bin` index builds, in bytes; also its greatest depth, since each step adds a byte.
pub const INDEX_KEY: usize = 4096;
/// The most results that one lookup returns.
pub const LOOKUP_RESULTS: usize = 1 << 16;
/// The largest text file of a module directory (`modules.alias` and the like) that is read, in bytes.
pub(crate) const TEXT_FILE: u64 = 256 << 20;

/// The longest logical line of a configuration file, in bytes.
pub(crate) const CONFIG_LINE: usize = 1 << 20;
/// The largest configuration file that is read, in bytes.
pub(crate) const CONFIG_FILE: u64 = 64 << 20;
/// How many warnings about the configuration are kept, over all files together.
pub(crate) const CONFIG_WARNINGS: usize = 1 << 14;
/// How much of `/proc/cmdline` is read for module options, in bytes (as kmod).
pub const CMDLINE: usize = 4095;
/// The largest `/proc/cmdline` that is searched for the gate's own switches, in bytes.
pub(crate) const CMDLINE_FILE: u64 = 1 << 16;

/// How many tasks the planner may process for one plan, which has no more steps. Real plans have some dozens at most.
pub(crate) const PLAN_TASKS: usize = 1 << 20;
/// How long the module names in those tasks may be in total, in bytes.
pub(crate) const PLAN_NAMES: usize = 64 << 20;

/// How many modules one modprobe may load at once (`--jobs`), each by a thread that may hold its decompressed image.
pub(crate) const JOBS: usize = 256;
/// How deep install and remove commands may nest, each starting modprobe again.
pub(crate) const COMMAND_NESTING: usize = 16;

/// How long one request waits for other requests in total. udevd warns after 60 s and kills after 180 s,
/// systemd-modules-load is ended after 90 s, `udevadm settle` gives up after 120 s.
pub(crate) const GATE_TIMEOUT: Duration = Duration::from_secs(50);
/// How long a remembered `ENODEV` answers requests by a CPU alias: at boot each CPU sends one, and all are alike.
pub(crate) const CPU_REFUSAL: Duration = Duration::from_secs(30);
/// The size at which the gate's trace stops growing, in bytes.
pub(crate) const GATE_TRACE: u64 = 8 << 20;
