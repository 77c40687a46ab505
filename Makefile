# demo       boots a kernel, storms it with modprobes and as a machine of 1, 8 and 32 CPUs, with stock kmod and with ours; a picture
# check      what to run before each commit: units, compliance, exploration, a storm on one kernel; ten minutes
# test       everything: unit tests, compliance, the lab
# sanitize   the unit tests of what reaches unsafe code, under valgrind; part of test
# test-full  the same without the samples that keep `test` short, on all machines that Debian runs on (tests/ports/run)
# fuzz       TARGET=... SECONDS=...: one of the fuzz targets, or all of them (tests/fuzz/run)
# figures    the tables of tests/lab/RESULTS.md, from the lab's last run
# graph      measures and draws the picture of README.md
# boot-picture  boots a Debian with our packages and takes its kmod plot and kmod blame into README.md
# build      the program; STATIC=1 LIBC=auto|gnu|musl CARGO_BUILD_TARGET=TRIPLE, see below
# library    libkmod.so.2
# selinux    the SELinux policy module for the gate
# deb, rpm   packages of them
#            DEBUGINFO=1 for build, library and rpm: debugging symbols, a package of their own
# install    what was built, nothing is compiled; DESTDIR= STRIP= and the places below; uninstall takes the same
# env        what the shell must know for cargo test to do what `test` does: eval "$(make env)"
#
# For packagers: RUSTFLAGS, CC, CFLAGS, CPPFLAGS and LDFLAGS are honoured, as are cargo's own variables (CARGO_NET_OFFLINE,
# CARGO_TARGET_DIR). Give the same words to build and to install.
CARGO       ?= cargo
CARGO_FLAGS ?= --locked
PREFIX      ?= /usr/local
BINDIR      ?= $(PREFIX)/bin
SBINDIR     ?= $(PREFIX)/sbin
LIBDIR      ?= $(PREFIX)/lib
MANDIR      ?= $(PREFIX)/share/man
# Where the running system's modules lie. /usr/lib/modules is looked at after it.
MODULEDIR   ?= /lib/modules
# 1: one static, position-independent program. At boot the dynamic loader would cost more than the work itself.
# 0: a dynamic one, as Debian's and Fedora's rules want it.
STATIC      ?= 1
# The C library of a static program, gnu or musl; auto is musl where it is to be had, for this machine or with MUSL_CC named:
# Rust's standard library for it (rustup target add x86_64-unknown-linux-musl), or its sources (Debian's rust-src), and a C
# compiler (Debian's musl-tools). A program with musl starts faster: at its start glibc executes CPUID some dozens of times, and
# in a virtual machine each of them is trapped.
LIBC        ?= auto
MUSL_CC     ?= musl-gcc
# Where musl is, for a standard library that is made of Rust's sources.
MUSL_LIB    ?= /usr/lib/$(machine)-linux-musl
# What strips installed files, if anything.
STRIP       ?=

# All that is built lies in a folder of its target. Naming the target, even the machine's own, keeps RUSTFLAGS away from build
# scripts and procedural macros, which must stay dynamic. Root may have no rustc: then it was the last build's target.
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),$(CURDIR)/target)
HOST   := $(or $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p'),$(shell cat $(TARGET)/host 2>/dev/null))
TRIPLE := $(or $(CARGO_BUILD_TARGET),$(HOST))
# The program may have another C library than the tests and the library, which lives in other programs.
MUSL_TRIPLE := $(subst -gnu,-musl,$(TRIPLE))
# Asked when it is needed, since `tools` may have fetched it.
rust_std = $(shell ls "$$(rustc --print target-libdir --target $(MUSL_TRIPLE))"/libstd-*.rlib 2>/dev/null)
rust_src = $(and $(wildcard $(MUSL_LIB)/libc.a), \
	$(wildcard $(shell rustc --print sysroot)/lib/rustlib/src/rust/library/sysroot/Cargo.toml))
musl_is_here = $(and $(filter-out 0,$(STATIC)),$(or $(filter $(HOST),$(TRIPLE)),$(filter-out file,$(origin MUSL_CC))), \
	$(shell command -v $(MUSL_CC)),$(or $(rust_std),$(rust_src)))
CHOSEN = $(if $(or $(filter musl,$(LIBC)),$(and $(filter auto,$(LIBC)),$(musl_is_here))),$(MUSL_TRIPLE),$(TRIPLE))
PROGRAM_TRIPLE = $(CHOSEN)
KMOD = $(TARGET)/$(PROGRAM_TRIPLE)/release/kmod
C_LIBRARY = $(if $(findstring -musl,$(KMOD)),musl,glibc)
export CARGO_BUILD_TARGET = $(TRIPLE)
# Programs with debugging symbols, of which `make rpm` makes a package of their own.
ifneq ($(DEBUGINFO),)
export CARGO_PROFILE_RELEASE_DEBUG = 1
export CARGO_PROFILE_LIBRARY_DEBUG = 1
endif
# What the lab and the compliance suite test is what would be installed.
export KMOD_ONCE_BIN = $(KMOD)

static_flag := -C target-feature=+crt-static
dynamic_flag := -C target-feature=-crt-static
# Without ours, which is there already where make was started by make.
given_flags := $(subst $(dynamic_flag),,$(subst $(static_flag),,$(RUSTFLAGS)))
override RUSTFLAGS := $(strip $(given_flags) $(foreach flag,$(LDFLAGS),-C link-arg=$(flag)) \
	$(if $(filter 0,$(STATIC)),$(dynamic_flag),$(static_flag)))
export RUSTFLAGS
# What the program and its unit tests are built with, if Rust has no standard library for it but the one that `rust-std` makes.
STD := $(TARGET)/rust-std
made_std = $(and $(findstring -musl,$(PROGRAM_TRIPLE)),$(if $(rust_std),,$(rust_src)))
PROGRAM_RUSTFLAGS := $(RUSTFLAGS)

# liblzma's fast copy and its checksum by carry-less multiplication (chosen at run time by what the CPU has): its crate
# builds without its configure script, which would have found them. Decoding costs 9 % less. The choice is left to the first
# checksum (no HAVE_FUNC_ATTRIBUTE_CONSTRUCTOR): made at start, it would ask the CPU in every modprobe, and in a virtual machine
# each such question leaves the guest.
decoders_x86_64 := -DTUKLIB_FAST_UNALIGNED_ACCESS=1 -DHAVE_IMMINTRIN_H=1 -DHAVE_USABLE_CLMUL=1
machine := $(firstword $(subst -, ,$(TRIPLE)))
triples := $(sort $(TRIPLE) $(MUSL_TRIPLE))
decoder_flags := $(foreach triple,$(triples),CFLAGS_$(subst -,_,$(triple)))
# With musl their memory is the program's: src/system/memory.rs.
decoders_musl := -Dmalloc=kmod_once_malloc -Dcalloc=kmod_once_calloc -Dfree=kmod_once_free
# CFLAGS and CC reach the C decoders by themselves.
$(foreach name,$(decoder_flags),$(eval export $(name) := \
	$(strip $(CPPFLAGS) $(decoders_$(machine)) $(if $(findstring musl,$(name)),$(decoders_musl)))))
ifneq ($(TRIPLE),$(MUSL_TRIPLE))
musl_compiler := CC_$(subst -,_,$(MUSL_TRIPLE))
export $(musl_compiler) := $(MUSL_CC)
endif
# Static programs are position-independent on other machines than x86-64, too.
linker_of = CARGO_TARGET_$(shell echo $(1) | tr a-z- A-Z_)_LINKER
ifneq ($(and $(filter-out 0,$(STATIC)),$(filter-out x86_64,$(machine)),$(findstring -gnu,$(TRIPLE))),)
export KMOD_ONCE_CC := $(CC)
export $(call linker_of,$(TRIPLE)) ?= $(CURDIR)/dist/toolchain/static-pie
endif
# For another machine CC is the compiler for it, and links too.
ifneq ($(TRIPLE),$(HOST))
ifneq ($(origin CC),default)
$(foreach triple,$(triples),$(eval export $(call linker_of,$(triple)) ?= $(CC)))
endif
endif
ifneq ($(MODULEDIR),/lib/modules)
export KMOD_ONCE_MODULEDIR = $(MODULEDIR)
endif

APPLETS := modprobe insmod rmmod lsmod modinfo depmod

ROOT := $(DESTDIR)$(PREFIX)
BASH_COMPLETIONS := share/bash-completion/completions
FISH_COMPLETIONS := share/fish/vendor_completions.d
# Debian's packages have them in share/zsh/vendor-completions.
ZSH_COMPLETIONS  ?= share/zsh/site-functions
COMPLETIONS := $(BASH_COMPLETIONS) $(FISH_COMPLETIONS) $(ZSH_COMPLETIONS)

# The library is not part of build: it is a second build of everything, with unwinding, that only installing and its own
# tests need.
LIB      := $(TARGET)/$(TRIPLE)/lib
LIBRARY  := $(LIB)/libkmod.so.2.5.1
ARCHIVE  := $(LIB)/$(TRIPLE)/library/libkmod_once.a
SHIM     := src/capi/shim.c
MAP      := dist/library/libkmod.map
PC       := -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@MODULEDIR@|$(MODULEDIR)|'

package   = $(shell sed -n '/^\[package\]/,/^\[lib\]/s/^$(1) = "\(.*\)"/\1/p' Cargo.toml)
VERSION  := $(call package,version)
PACKAGES ?= $(TARGET)/packages

.PHONY: deb rpm selinux library bench build units rust-std tools demo demo-tools demo-lab demo-fetch demo-library env test \
	test-full sanitize fuzz check figures graph boot-picture install install-library uninstall built-program built-library
build units: export override CARGO_BUILD_TARGET = $(PROGRAM_TRIPLE)
build units: export override RUSTFLAGS = $(PROGRAM_RUSTFLAGS)$(if $(made_std), --sysroot $(STD))
build: rust-std
	$(CARGO) build $(CARGO_FLAGS) --release --bin kmod
	@touch $(KMOD) # Cargo leaves it as it is where what changed makes no difference.
	@echo $(HOST) >$(TARGET)/host
	@echo $(PROGRAM_TRIPLE) >$(TARGET)/program
	@echo 'The program is linked with $(C_LIBRARY).'

# The unit tests with the program's C library.
units: rust-std
	$(CARGO) test $(CARGO_FLAGS) --lib $(if $(UNITS),-- $(UNITS))

rust-std:
	@$(if $(made_std),dist/toolchain/rust-std $(STD) $(PROGRAM_TRIPLE) $(MUSL_LIB) $(MUSL_CC),:)

# Links libkmod.so.2: where to, the archive of its Rust half. Only what libkmod.map names is visible, and the unwinder is linked
# in, so that the library needs the C library and nothing else. The shim names versions of symbols in assembler, which link-time
# optimisation loses.
define link_library
	$(CC) $(CPPFLAGS) $(or $(CFLAGS),-O2) -Wall -Wextra -fPIC -fno-lto -c -o $(1)/shim.o $(SHIM)
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -o $(1)/libkmod.so.2.5.1 -static-libgcc -Wl,-soname,libkmod.so.2 \
		-Wl,--version-script=$(MAP) -Wl,-z,now -Wl,-z,relro -Wl,-z,defs -Wl,--gc-sections $(1)/shim.o $(2)
endef
# Not static, whatever the program is.
library: override RUSTFLAGS := $(strip $(given_flags))
library:
	$(CARGO) rustc $(CARGO_FLAGS) --lib --features library --profile library --crate-type staticlib --target-dir $(LIB)
	$(call link_library,$(LIB),$(ARCHIVE))
	ln -sf libkmod.so.2.5.1 $(LIB)/libkmod.so.2
	ln -sf libkmod.so.2 $(LIB)/libkmod.so
	@echo $(HOST) >$(TARGET)/host

tools:
	tests/lab/tools.sh

# Built for speed of building: program, library and test in one profile and with one C library, so that what they are made of is
# compiled once. The kernel counts the same calls.
DEMO := $(TARGET)/$(TRIPLE)/quick
demo: export KMOD_ONCE_BIN = $(DEMO)/kmod
demo: export KMOD_ONCE_LIBRARY = $(DEMO)/libkmod.so.2.5.1
demo:
	$(MAKE) -j2 demo-tools demo-lab
	$(MAKE) -j2 demo-fetch demo-library
	$(CARGO) test $(CARGO_FLAGS) --quiet --profile quick --test lab -- demo
demo-tools:
	tests/lab/tools.sh demo
demo-lab:
	$(CARGO) test $(CARGO_FLAGS) --profile quick --test lab --no-run
demo-fetch:
	@# Cargo would wait for the library.
	$$(ls -t $(DEMO)/deps/lab-*.d | head -n 1 | sed 's/\.d$$//') fetch
# The downloads take longer.
demo-library:
	nice $(CARGO) rustc $(CARGO_FLAGS) --lib --features library --profile quick --crate-type staticlib
	$(call link_library,$(DEMO),$(DEMO)/libkmod_once.a)

ENVIRONMENT := CARGO_BUILD_TARGET RUSTFLAGS $(decoder_flags) $(musl_compiler) KMOD_ONCE_CC $(call linker_of,$(TRIPLE)) \
	KMOD_ONCE_BIN
env:
	@$(foreach name,$(ENVIRONMENT),$(if $($(name)),echo "export $(name)='$($(name))'";)) echo "export KMOD_ONCE_LIBRARY='$(LIBRARY)'"

# Ten minutes, before each commit.
check: export KMOD_ONCE_LIBRARY = $(LIBRARY)
check: tools build library
	$(CARGO) test --lib
	$(CARGO) test --test compliance
	$(CARGO) test --profile quick --test exploration
	$(CARGO) test --test lab -- --exact storm_16::6.12

test: export KMOD_ONCE_LIBRARY = $(LIBRARY)
test: tools build library
	@echo 'make test: unit, compliance and library tests (14 minutes on 2 cores), the exploration of the gate (3), the'
	@echo 'sanitizer (3), real kernels in QEMU (23 without KVM), Debian that boots with the packages, and confined (11);'
	@echo 'beside these, other machines. The first time some minutes more, for downloads; each test is named when it ends.'
	$(CARGO) test
	$(if $(filter-out $(TRIPLE),$(PROGRAM_TRIPLE)),$(MAKE) units)
	$(CARGO) test --profile quick --test exploration
	tests/sanitize.sh
	$(CARGO) test --test lab -- --test-threads 1 storm
	@# Other machines take what these two leave idle.
	nice -n 19 tests/ports/run $(if $(KMOD_ONCE_FULL),,i386 s390x amd64-musl) >$(TARGET)/ports.log 2>&1 & \
	trap "kill $$!" INT TERM; \
	$(CARGO) test --test lab -- --test-threads 2 --skip storm && $(CARGO) test --test distro; here=$$?; \
	wait $$!; others=$$?; cat $(TARGET)/ports.log; exit $$((here + others))

test-full: export KMOD_ONCE_FULL = 1
test-full: test

sanitize: tools
	tests/sanitize.sh

# A TARGET that was given on the command line is one of the fuzzer's.
fuzz:
	tests/fuzz/run $(if $(findstring command,$(origin TARGET)),$(TARGET),all) $(or $(SECONDS),60)

figures:
	mkdir -p dist/lab
	cp $(TARGET)/lab/results.csv dist/lab/
	$(CARGO) test --quiet --test lab -- table dist/lab/results.csv tests/lab/RESULTS.md

# The first picture of README.md: what udev's coldplug costs over the CPUs of the machine, before and after, on 6.1 and on the
# newest kernel. 25 minutes.
graph: export KMOD_ONCE_FULL = 1
graph: export KMOD_ONCE_LIBRARY = $(LIBRARY)
graph: tools build library
	$(CARGO) test --test lab -- --test-threads 1 coldplug_of --skip ::5.10 --skip ::6.12
	mkdir -p dist/lab
	grep -E '^kernel,|,coldplug_of_' $(TARGET)/lab/results.csv > dist/lab/cpus.csv
	$(CARGO) test --quiet --test lab -- plot dist/lab/cpus.csv dist/lab/cpus.svg

# The second picture, and the lines beside it: the boot of a whole Debian 13. Five minutes.
boot-picture: export KMOD_ONCE_LIBRARY = $(LIBRARY)
boot-picture: tools build library
	$(CARGO) test --test distro -- debian-13-linux-6.12
	mkdir -p dist/distro
	cp $(TARGET)/distro/initramfs-tools.svg dist/distro/boot.svg
	head $(TARGET)/distro/initramfs-tools.blame | sed 's/^/    /' | \
		sed -i -e '/^    # kmod blame | head$$/,/^$$/{//!d}' -e '/^    # kmod blame | head$$/r /dev/stdin' README.md

# Speed as a ratio to kmod 34.2, 30 and an empty process: the tables of benches/RESULTS.md, which are written anew.
bench: tools build
	$(CARGO) bench --bench against_kmod -- $(CURDIR)/benches/RESULTS.md
	$(CARGO) bench --bench library

# What this puts where is listed in INSTALL.md; tests/install.rs compares the two. Files are replaced, never written through:
# where a distribution's links are, they may lead out of DESTDIR. Nothing is compiled: root has no cargo, or should not use it.
install: built-program install-library
	install -D -m 755 $(KMOD) $(DESTDIR)$(BINDIR)/kmod.new
	$(if $(STRIP),$(STRIP) $(DESTDIR)$(BINDIR)/kmod.new)
	mv -fT $(DESTDIR)$(BINDIR)/kmod.new $(DESTDIR)$(BINDIR)/kmod
	mkdir -p $(DESTDIR)$(SBINDIR) $(addprefix $(ROOT)/,$(COMPLETIONS))
	for tool in $(APPLETS); do ln -sfT $(LINK) $(DESTDIR)$(SBINDIR)/$$tool || exit; done
	for page in man/*.[1-9]; do \
		install -D -m 644 $$page $(DESTDIR)$(MANDIR)/man$${page##*.}/$${page#man/} || exit; \
	done
	install -m 644 completions/kmod.bash $(ROOT)/$(BASH_COMPLETIONS)/kmod
	install -m 644 completions/kmod.fish $(ROOT)/$(FISH_COMPLETIONS)/kmod.fish
	install -m 644 completions/_kmod $(ROOT)/$(ZSH_COMPLETIONS)/_kmod
	for tool in $(APPLETS); do \
		ln -sfT kmod $(ROOT)/$(BASH_COMPLETIONS)/$$tool && \
		ln -sfT kmod.fish $(ROOT)/$(FISH_COMPLETIONS)/$$tool.fish || exit; \
	done
	install -D -m 644 dist/udev/80-drivers.rules $(ROOT)/share/kmod-once/udev/80-drivers.rules
	sed -i 's|/sbin/modprobe|$(SBINDIR)/modprobe|' $(ROOT)/share/kmod-once/udev/80-drivers.rules

# The program as the tools' links name it.
LINK = $(shell realpath -ms --relative-to=$(SBINDIR) $(BINDIR)/kmod)

install-library: built-library
	install -D -m 644 $(LIBRARY) $(DESTDIR)$(LIBDIR)/libkmod.so.2.5.1.new
	$(if $(STRIP),$(STRIP) $(DESTDIR)$(LIBDIR)/libkmod.so.2.5.1.new)
	mv -fT $(DESTDIR)$(LIBDIR)/libkmod.so.2.5.1.new $(DESTDIR)$(LIBDIR)/libkmod.so.2.5.1
	ln -sfT libkmod.so.2.5.1 $(DESTDIR)$(LIBDIR)/libkmod.so.2
	ln -sfT libkmod.so.2 $(DESTDIR)$(LIBDIR)/libkmod.so
	install -D -m 644 dist/library/libkmod.h $(ROOT)/include/libkmod.h
	install -D -m 644 dist/library/libkmod.pc.in $(DESTDIR)$(LIBDIR)/pkgconfig/libkmod.pc
	install -D -m 644 dist/library/kmod.pc.in $(ROOT)/share/pkgconfig/kmod.pc
	sed -i $(PC) $(DESTDIR)$(LIBDIR)/pkgconfig/libkmod.pc $(ROOT)/share/pkgconfig/kmod.pc

# Refuses a file that is missing or older than what it is made from: file, goal of make, the list of its sources that cargo
# wrote, other sources. What somebody names on the command line is taken as it is. Of the two C libraries it is the one that
# was built with last: root may have another Rust.
install deb rpm built-program: PROGRAM_TRIPLE = \
	$(or $(if $(filter file,$(origin LIBC)),$(filter $(TRIPLE) $(MUSL_TRIPLE),$(shell cat $(TARGET)/program 2>/dev/null))),$(CHOSEN))
define fresh
	@test -e $(1) || { echo "$(1) is not there: run make $(2) first" >&2; exit 1; }
	$(if $(filter command,$(origin $(3))),,@changed=$$(find $$(sed 's/^[^:]*: *//' $(4)) $(5) Cargo.toml Cargo.lock \
		-newer $(1) -print -quit) && test -z "$$changed" || \
		{ echo "$(1) is older than $${changed:-its sources}: run make $(2) first" >&2; exit 1; })
endef
built-program:
	$(call fresh,$(KMOD),build,KMOD,$(KMOD).d)
built-library:
	$(call fresh,$(LIBRARY),library,LIBRARY,$(ARCHIVE:.a=.d),$(SHIM) $(MAP))

# checkmodule and semodule_package are in Debian's checkpolicy and semodule-utils.
POLICY := $(TARGET)/selinux/kmod-once.pp
$(POLICY): dist/selinux/kmod-once.te dist/selinux/kmod-once.fc
	@mkdir -p $(@D)
	new=$$(mktemp -d $(@D)/new.XXXXXX) && checkmodule -M -m -o $$new/kmod_once.mod $< && \
		semodule_package -o $$new/kmod_once.pp -m $$new/kmod_once.mod -f $(word 2,$^) && \
		mv $$new/kmod_once.pp $@ && rm -r $$new
selinux: $(POLICY)
	@echo $(POLICY)

# Packages of what was built, in $(PACKAGES). How they live with the distribution's kmod: dist/deb/scripts/place.sh and
# dist/rpm/kmod-once.spec. Where the policy cannot be compiled, they are made without.
HAS_CHECKMODULE := $(shell PATH="$$PATH:/usr/sbin:/sbin" command -v checkmodule)
ifneq ($(HAS_CHECKMODULE),)
deb: export POLICY := $(POLICY)
deb rpm: $(POLICY)
endif
deb rpm: built-program built-library
# rpmbuild strips what has debugging information by itself, and puts that into packages of its own.
HAS_DEBUG = $(shell readelf -S $(KMOD) | grep debug_info)
deb rpm: MADE = KMOD=$(KMOD) LIBRARY=$(LIBRARY) STRIP=$(or $(STRIP),$(if $(filter $(HOST),$(TRIPLE)),strip))
# Debian's name for the machine that the program is for.
DEB_NAMES := x86_64=amd64 i586=i386 i686=i386 aarch64=arm64 armv7=armhf arm=armel riscv64gc=riscv64 powerpc64le=ppc64el \
	loongarch64=loong64 mips64el=mips64el s390x=s390x
DEB_ARCH ?= $(or $(patsubst $(machine)=%,%,$(filter $(machine)=%,$(DEB_NAMES))),$(error what is DEB_ARCH for $(TRIPLE)?))
deb:
	@mkdir -p $(PACKAGES)
	@echo 'The program is linked with $(C_LIBRARY).'
	@DEB_ARCH=$(DEB_ARCH) dist/deb/build $(PACKAGES) $(PACKAGES)/deb $(MADE)

rpm:
	@mkdir -p $(PACKAGES)
	@echo 'The program is linked with $(C_LIBRARY).'
	@rpmbuild -bb --quiet --define "_topdir $(PACKAGES)/rpm" --define "_rpmdir $(PACKAGES)" \
		--define "version_of_cargo $(VERSION)" --define "source_of_cargo $(CURDIR)" \
		--define "make_arguments $(if $(HAS_DEBUG),$(filter-out STRIP=%,$(MADE)),$(MADE))" --define "policy $(POLICY)" \
		$(if $(HAS_CHECKMODULE),--with selinux) $(if $(HAS_DEBUG),--with debuginfo) \
		--define "_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm" dist/rpm/kmod-once.spec
	@ls $(PACKAGES)/kmod-once-*$(VERSION)-1*.rpm

uninstall:
	rm -f $(addprefix $(DESTDIR)$(LIBDIR)/,libkmod.so libkmod.so.2 libkmod.so.2.5.1 pkgconfig/libkmod.pc)
	rm -f $(addprefix $(ROOT)/,include/libkmod.h share/pkgconfig/kmod.pc)
	rm -f $(DESTDIR)$(BINDIR)/kmod $(addprefix $(DESTDIR)$(SBINDIR)/,$(APPLETS))
	for page in man/*.[1-9]; do rm -f $(DESTDIR)$(MANDIR)/man$${page##*.}/$${page#man/}; done
	rm -f $(addprefix $(ROOT)/$(BASH_COMPLETIONS)/,kmod $(APPLETS)) $(ROOT)/$(ZSH_COMPLETIONS)/_kmod
	rm -f $(patsubst %,$(ROOT)/$(FISH_COMPLETIONS)/%.fish,kmod $(APPLETS))
	rm -rf $(ROOT)/share/kmod-once
