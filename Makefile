# demo       boots two kernels, storms them with stock kmod and with ours, prints a table
# test       everything: unit tests, compliance, the lab
# test-full  the same without the samples that keep `test` short
# plot       the table's figures and the plot of README.md, from the lab's last run
# install    DESTDIR= PREFIX=/usr/local; uninstall takes the same
CARGO  ?= cargo
PREFIX ?= /usr/local
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),$(CURDIR)/target)
TRIPLE := $(shell rustc -vV | sed -n 's/^host: //p')
KMOD   := $(TARGET)/$(TRIPLE)/release/kmod
# What the lab and the compliance suite test is what would be installed.
export KMOD_ONCE_BIN = $(KMOD)

APPLETS := modprobe insmod rmmod lsmod modinfo depmod

ROOT := $(DESTDIR)$(PREFIX)
BASH_COMPLETIONS := share/bash-completion/completions
FISH_COMPLETIONS := share/fish/vendor_completions.d
# Debian's packages have them in share/zsh/vendor-completions.
ZSH_COMPLETIONS  ?= share/zsh/site-functions
COMPLETIONS := $(BASH_COMPLETIONS) $(FISH_COMPLETIONS) $(ZSH_COMPLETIONS)

.PHONY: bench build tools demo test test-full plot install uninstall
build:
	$(CARGO) build --release --bin kmod

tools:
	tests/lab/tools.sh

demo: tools build
	$(CARGO) test --quiet --test lab -- demo

test: tools build
	$(CARGO) test
	$(CARGO) test --test lab -- --test-threads 1 storm
	$(CARGO) test --test lab -- --test-threads 2 --skip storm

test-full: export KMOD_ONCE_FULL = 1
test-full: test

plot:
	mkdir -p dist/lab
	cp $(TARGET)/lab/results.csv dist/lab/
	$(CARGO) test --quiet --test lab -- plot dist/lab/results.csv dist/lab/coldplug.svg
	$(CARGO) test --quiet --test lab -- table dist/lab/results.csv README.md

# Speed as a ratio to kmod 34.2: the table of README.md.
bench: tools
	$(CARGO) bench --bench against_kmod

# What this puts where is listed in README.md; tests/install.rs compares the two. Files are replaced, never written through:
# where a distribution's links are, they may lead out of DESTDIR.
install:
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

uninstall:
	rm -f $(ROOT)/bin/kmod $(addprefix $(ROOT)/sbin/,$(APPLETS))
	for page in man/*.[1-9]; do rm -f $(ROOT)/share/man/man$${page##*.}/$${page#man/}; done
	rm -f $(addprefix $(ROOT)/$(BASH_COMPLETIONS)/,kmod $(APPLETS)) $(ROOT)/$(ZSH_COMPLETIONS)/_kmod
	rm -f $(patsubst %,$(ROOT)/$(FISH_COMPLETIONS)/%.fish,kmod $(APPLETS))
	rm -rf $(ROOT)/share/kmod-once
