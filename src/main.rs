//! The multi-call binary.
#![no_main]

kmod_once::entry_point!(kmod_once::program);
