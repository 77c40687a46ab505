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

install:
	test -x $(KMOD) || $(MAKE) build
	install -D -m 755 $(KMOD) $(DESTDIR)$(PREFIX)/bin/kmod
	mkdir -p $(DESTDIR)$(PREFIX)/sbin
	for tool in $(APPLETS); do ln -sf ../bin/kmod $(DESTDIR)$(PREFIX)/sbin/$$tool; done
	mkdir -p $(DESTDIR)$(PREFIX)/share/kmod-once/udev
	sed 's|/sbin/modprobe|$(PREFIX)/sbin/modprobe|' dist/udev/80-drivers.rules \
		>$(DESTDIR)$(PREFIX)/share/kmod-once/udev/80-drivers.rules
	chmod 644 $(DESTDIR)$(PREFIX)/share/kmod-once/udev/80-drivers.rules

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/kmod $(addprefix $(DESTDIR)$(PREFIX)/sbin/,$(APPLETS))
	rm -rf $(DESTDIR)$(PREFIX)/share/kmod-once
