//! kmod-once: the kernel module tools, in which a module reaches the kernel once.
