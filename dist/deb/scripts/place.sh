#!/bin/sh
# How files of a package take the place of the distribution's, and give it back. dist/deb/build puts this in front of each
# maintainer script, with the name of the package and its files.
#
# The distribution's file is kept under another name, where dpkg goes on updating it (dpkg-divert(1)); ours is a real file
# under the first name. The file is exchanged by rename(2), so that it is there at every moment:
#
#   preinst  gives theirs a second name (a hard link) and tells dpkg so; dpkg then unpacks ours over the first
#   prerm    gives ours a second name, tells dpkg by the opposite diversion to delete it there, and renames theirs back
#   postrm   takes the opposite diversion away
#
# Each step may be repeated: dpkg calls the scripts again after a crash. (Provides and Conflicts would make apt remove kmod, and
# removing kmod-once would then leave a machine that cannot load modules.)
set -e
package=@PACKAGE@
files='@FILES@'

# The names by which dpkg may know a file: since /usr was merged, /bin/kmod and /usr/bin/kmod are one file. Debian 12's kmod
# ships the first, Debian 13's the second, and dpkg does not know that they are the same.
names() {
    echo "$1"
    case $1 in /usr/bin/* | /usr/lib/*) echo "${1#/usr}" ;; esac
}

# Where the distribution's file of that name is kept. Two places for the two names: an upgrade unpacks the one and deletes
# the other.
aside() {
    case $1 in
    /usr/*) echo "$1.distrib" ;;
    *) echo "$1.distrib.usr-is-merged" ;;
    esac
}

exists() {
    [ -e "$1" ] || [ -L "$1" ]
}

# Whether another package has a file of that name.
owned() {
    dpkg-query --search "$1" 2>/dev/null | sed -n '/^diversion by \|^local diversion /d; s|: /.*||p' |
        tr ',' '\n' | sed 's/^ //; s/:.*//' | grep -qvx "$package"
}

# Renames $1 to $2, which it replaces; mv(1) refuses where both are names of one file.
rename() {
    if [ "$(stat -c %d:%i "$1")" = "$(stat -c %d:%i "$2" 2>/dev/null)" ]; then rm "$1"; else mv -fT "$1" "$2"; fi
}

divert() {
    dpkg-divert --quiet --no-rename "$@"
}

# Whether it is this package that diverts the name.
is_ours() {
    [ "$(dpkg-divert --listpackage "$1")" = "$package" ]
}

# Keeps theirs aside. If a removal was broken off, ours gets back its place.
take() {
    file=$1 ours=$1.$package
    if [ "$(dpkg-divert --truename "$file")" = "$ours" ]; then divert --local --remove "$file"; fi
    for name in $(names "$file"); do
        if is_ours "$name"; then continue; fi
        if exists "$file" && ! [ "$file" -ef "$ours" ] && owned "$name"; then ln -fPT "$file" "$(aside "$name")"; fi
        divert --package "$package" --divert "$(aside "$name")" --add "$name"
    done
    if exists "$ours"; then rename "$ours" "$file"; fi
}

# Where theirs is kept, if there is one.
kept() {
    for name in $(names "$1"); do
        if exists "$(aside "$name")"; then aside "$name"; fi
    done | tail -n 1
}

forget() {
    for name in $(names "$1"); do
        if is_ours "$name"; then divert --package "$package" --remove "$name"; fi
    done
}

# Gives theirs its place back, and leaves ours to dpkg, which is about to delete it.
give_back() {
    theirs=$(kept "$1")
    if [ "$theirs" ]; then
        if exists "$1"; then ln -fPT "$1" "$1.$package"; fi
        if is_ours "$1"; then divert --package "$package" --remove "$1"; fi
        divert --local --divert "$1.$package" --add "$1"
        rename "$theirs" "$1"
    fi
    forget "$1"
}
