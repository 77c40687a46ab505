# demo       boots two kernels, storms them with stock kmod and with ours, prints a table
# check      what to run before each commit: units, compliance, exploration, a storm on one kernel; ten minutes
# test       everything: unit tests, compliance, the lab
# sanitize   the unit tests of what reaches unsafe code, under valgrind; part of test
# test-full  the same without the samples that keep `test` short
# fuzz       TARGET=... SECONDS=...: one of the fuzz targets, or all of them (tests/fuzz/run)
# figures    the tables of tests/lab/RESULTS.md, from the lab's last run
# graph      measures and draws the picture of README.md
# library    libkmod.so.2
# selinux    the SELinux policy module for the gate
# deb, rpm   packages of them
#            DEBUGINFO=1 for build, library and rpm: debugging symbols, a package of their own
# install    tools and library; DESTDIR= PREFIX=/usr/local LIBDIR=PREFIX/lib; uninstall takes the same
CARGO  ?= cargo
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),$(CURDIR)/target)
TRIPLE := $(shell rustc -vV | sed -n 's/^host: //p')
KMOD   := $(TARGET)/$(TRIPLE)/release/kmod
# See .cargo/config.toml.
export CARGO_BUILD_TARGET = $(TRIPLE)
# Programs with debugging symbols, of which `make rpm` makes a package of their own.
ifneq ($(DEBUGINFO),)
export CARGO_PROFILE_RELEASE_DEBUG = 1
export CARGO_PROFILE_RELEASE_STRIP = none
export CARGO_PROFILE_LIBRARY_DEBUG = 1
endif
# What the lab and the compliance suite test is what would be installed.
export KMOD_ONCE_BIN = $(KMOD)

APPLETS := modprobe insmod rmmod lsmod modinfo depmod

ROOT := $(DESTDIR)$(PREFIX)
BASH_COMPLETIONS := share/bash-completion/completions
FISH_COMPLETIONS := share/fish/vendor_completions.d
# Debian's packages have them in share/zsh/vendor-completions.
ZSH_COMPLETIONS  ?= share/zsh/site-functions
COMPLETIONS := $(BASH_COMPLETIONS) $(FISH_COMPLETIONS) $(ZSH_COMPLETIONS)

# The library is not part of build: it is a second build of everything, position-independent and with unwinding, that
# only installing and its own tests need.
LIB      := $(TARGET)/lib
LIBRARY  := $(LIB)/libkmod.so.2.5.1
STATIC   := $(LIB)/$(TRIPLE)/library/libkmod_once.a
PC       := -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|'

package   = $(shell sed -n '/^\[package\]/,/^\[lib\]/s/^$(1) = "\(.*\)"/\1/p' Cargo.toml)
VERSION  := $(call package,version)
PACKAGES ?= $(TARGET)/packages

.PHONY: deb rpm selinux library bench build tools demo test test-full sanitize fuzz check figures graph install install-library uninstall
build:
	$(CARGO) build --release --bin kmod

# RUSTFLAGS stand in for those of .cargo/config.toml, which make static programs. Only what libkmod.map names is visible,
# and the unwinder is linked in, so that the library needs the C library and nothing else.
library:
	RUSTFLAGS="-C relocation-model=pic" $(CARGO) rustc --lib --features library --profile library \
		--crate-type staticlib --target-dir $(LIB)
	$(CC) -O2 -Wall -Wextra -fPIC -c -o $(LIB)/shim.o src/capi/shim.c
	$(CC) -shared -o $(LIBRARY) -static-libgcc -Wl,-soname,libkmod.so.2 \
		-Wl,--version-script=dist/library/libkmod.map -Wl,-z,now -Wl,-z,relro -Wl,-z,defs -Wl,--gc-sections $(if $(DEBUGINFO),,-Wl,-s) \
		$(LIB)/shim.o $(STATIC)
	ln -sf libkmod.so.2.5.1 $(LIB)/libkmod.so.2
	ln -sf libkmod.so.2 $(LIB)/libkmod.so

tools:
	tests/lab/tools.sh

demo: tools build
	$(CARGO) test --quiet --test lab -- demo

# Ten minutes, before each commit.
check: export KMOD_ONCE_LIBRARY = $(LIBRARY)
check: tools build library
	$(CARGO) test --lib
	$(CARGO) test --test compliance
	$(CARGO) test --profile exploration --test exploration
	$(CARGO) test --test lab -- --exact storm_16::6.12

test: export KMOD_ONCE_LIBRARY = $(LIBRARY)
test: tools build library
	@echo 'make test: unit, compliance and library tests (10 minutes on 2 cores), the exploration of the gate (3), the'
	@echo 'sanitizer (3), real kernels in QEMU (35 without KVM), a whole Debian that boots with the packages (5).'
	@echo 'The first time some minutes more, for downloads; each test is named when it ends.'
	$(CARGO) test
	$(CARGO) test --profile exploration --test exploration
	tests/sanitize.sh
	$(CARGO) test --test lab -- --test-threads 1 storm
	$(CARGO) test --test lab -- --test-threads 2 --skip storm
	$(CARGO) test --test distro

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

# The first picture of README.md: what udev's coldplug costs over the CPUs of the machine, before and after. An hour.
graph: export KMOD_ONCE_FULL = 1
graph: export KMOD_ONCE_LIBRARY = $(LIBRARY)
graph: tools build library
	$(CARGO) test --test lab -- --test-threads 1 coldplug_of
	mkdir -p dist/lab
	grep -E '^kernel,|,coldplug_of_' $(TARGET)/lab/results.csv > dist/lab/cpus.csv
	$(CARGO) test --quiet --test lab -- plot dist/lab/cpus.csv dist/lab/cpus.svg

# Speed as a ratio to kmod 34.2, 30 and an empty process: the tables of benches/RESULTS.md, which are written anew.
bench: tools
	$(CARGO) bench --bench against_kmod -- $(CURDIR)/benches/RESULTS.md
	$(CARGO) bench --bench library

# What this puts where is listed in INSTALL.md; tests/install.rs compares the two. Files are replaced, never written through:
# where a distribution's links are, they may lead out of DESTDIR.
install: install-library
	test -x $(KMOD) || $(MAKE) build
	install -D -m 755 $(KMOD) $(ROOT)/bin/kmod.new
	mv -fT $(ROOT)/bin/kmod.new $(ROOT)/bin/kmod
	mkdir -p $(ROOT)/sbin $(addprefix $(ROOT)/,$(COMPLETIONS))
	for tool in $(APPLETS); do ln -sfT ../bin/kmod $(ROOT)/sbin/$$tool; done
	for page in man/*.[1-9]; do \
		install -D -m 644 $$page $(ROOT)/share/man/man$${page##*.}/$${page#man/} || exit; \
	done
	install -m 644 completions/kmod.bash $(ROOT)/$(BASH_COMPLETIONS)/kmod
	install -m 644 completions/kmod.fish $(ROOT)/$(FISH_COMPLETIONS)/kmod.fish
	install -m 644 completions/_kmod $(ROOT)/$(ZSH_COMPLETIONS)/_kmod
	for tool in $(APPLETS); do \
		ln -sfT kmod $(ROOT)/$(BASH_COMPLETIONS)/$$tool && \
		ln -sfT kmod.fish $(ROOT)/$(FISH_COMPLETIONS)/$$tool.fish || exit; \
	done
	install -D -m 644 dist/udev/80-drivers.rules $(ROOT)/share/kmod-once/udev/80-drivers.rules
	sed -i 's|/sbin/modprobe|$(PREFIX)/sbin/modprobe|' $(ROOT)/share/kmod-once/udev/80-drivers.rules

install-library:
	test -e $(LIBRARY) || $(MAKE) library
	install -D -m 644 $(LIBRARY) $(DESTDIR)$(LIBDIR)/libkmod.so.2.5.1.new
	mv -fT $(DESTDIR)$(LIBDIR)/libkmod.so.2.5.1.new $(DESTDIR)$(LIBDIR)/libkmod.so.2.5.1
	ln -sfT libkmod.so.2.5.1 $(DESTDIR)$(LIBDIR)/libkmod.so.2
	ln -sfT libkmod.so.2 $(DESTDIR)$(LIBDIR)/libkmod.so
	install -D -m 644 dist/library/libkmod.h $(ROOT)/include/libkmod.h
	install -D -m 644 dist/library/libkmod.pc.in $(DESTDIR)$(LIBDIR)/pkgconfig/libkmod.pc
	install -D -m 644 dist/library/kmod.pc.in $(ROOT)/share/pkgconfig/kmod.pc
	sed -i $(PC) $(DESTDIR)$(LIBDIR)/pkgconfig/libkmod.pc $(ROOT)/share/pkgconfig/kmod.pc

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
deb rpm: BUILT = KMOD=$(KMOD) LIBRARY=$(LIBRARY)
deb:
	@mkdir -p $(PACKAGES)
	@dist/deb/build $(PACKAGES) $(PACKAGES)/deb $(BUILT)

rpm:
	@mkdir -p $(PACKAGES)
	@rpmbuild -bb --quiet --define "_topdir $(PACKAGES)/rpm" --define "_rpmdir $(PACKAGES)" \
		--define "version_of_cargo $(VERSION)" --define "source_of_cargo $(CURDIR)" \
		--define "make_arguments $(BUILT)" --define "policy $(POLICY)" \
		$(if $(HAS_CHECKMODULE),--with selinux) $(if $(shell readelf -S $(KMOD) | grep debug_info),--with debuginfo) \
		--define "_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm" dist/rpm/kmod-once.spec
	@ls $(PACKAGES)/kmod-once-*$(VERSION)-1*.rpm

uninstall:
	rm -f $(addprefix $(DESTDIR)$(LIBDIR)/,libkmod.so libkmod.so.2 libkmod.so.2.5.1 pkgconfig/libkmod.pc)
	rm -f $(addprefix $(ROOT)/,include/libkmod.h share/pkgconfig/kmod.pc)
	rm -f $(ROOT)/bin/kmod $(addprefix $(ROOT)/sbin/,$(APPLETS))
	for page in man/*.[1-9]; do rm -f $(ROOT)/share/man/man$${page##*.}/$${page#man/}; done
	rm -f $(addprefix $(ROOT)/$(BASH_COMPLETIONS)/,kmod $(APPLETS)) $(ROOT)/$(ZSH_COMPLETIONS)/_kmod
	rm -f $(patsubst %,$(ROOT)/$(FISH_COMPLETIONS)/%.fish,kmod $(APPLETS))
	rm -rf $(ROOT)/share/kmod-once
