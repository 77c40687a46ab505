//! The table of calls, with the scripted kernel. `tests/lab` repeats it on real kernels.

use super::*;
use crate::gate::settings::Settings;
use crate::gate::trace::Origin;
use crate::log::Kept;
use crate::system::Roots;
use crate::system::clock::Real;
use crate::system::fake::{Call, FakeKernel};
use std::io::Write;
use std::path::PathBuf;

struct Fixture {
    dir: tempfile::TempDir,
    roots: Roots,
    kernel: FakeKernel,
    sink: Kept,
}

const PLAIN: &[u8] = b"\x7fELF, as far as the kernel's double is concerned";

impl Fixture {
    fn new(kernel_method: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots::below(dir.path());
        std::fs::create_dir(&roots.run).unwrap();
        let kernel = FakeKernel::new(&roots);
        *kernel.image_name.lock().unwrap() = "m".to_string();
        if let Some(method) = kernel_method {
            std::fs::write(roots.kernel_compression(), format!("{method}\n")).unwrap();
        }
        Fixture { dir, roots, kernel, sink: Kept::default() }
    }

    fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }

    fn insert(&self, path: &Path, force: Force) -> Result<Outcome> {
        self.insert_as(path, Some(b"m"), force)
    }

    fn insert_as(&self, path: &Path, name: Option<&[u8]>, force: Force) -> Result<Outcome> {
        let system = System { roots: &self.roots, kernel: &self.kernel, clock: &Real };
        let gate = Gate::with_settings(system, &self.sink, Origin::default(), Settings::default());
        let loader = Loader::new(system, &gate, &self.sink);
        loader.insert(&Insertion {
            path,
            name,
            parameters: b"a=1 ",
            force,
            budget: &WaitBudget::new(&system),
            dependency: false,
            remember: false,
            request: b"m",
        })
    }

    fn calls(&self) -> Vec<Call> {
        self.kernel.calls.lock().unwrap().clone()
    }
}

fn xz(contents: &[u8]) -> Vec<u8> {
    xz_with(contents, xz2::stream::Check::Crc32)
}

fn xz_with(contents: &[u8], check: xz2::stream::Check) -> Vec<u8> {
    let stream = xz2::stream::Stream::new_easy_encoder(1, check).unwrap();
    let mut encoder = xz2::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(contents).unwrap();
    encoder.finish().unwrap()
}

fn gzip(contents: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(contents).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_plain_file_goes_by_descriptor() {
    let fixture = Fixture::new(None);
    let path = fixture.file("m.ko", PLAIN);
    assert_eq!(fixture.insert(&path, Force::default()), Ok(Outcome::Loaded));
    assert_eq!(fixture.calls(), [Call::Finit("m".into(), b"a=1 ".to_vec(), 0)]);
}

#[test]
fn a_compressed_file_goes_by_descriptor_only_where_the_kernel_names_its_method() {
    let everything = Force { vermagic: true, modversions: true };
    for (method, contents, flags) in [("xz", xz(PLAIN), 4), ("gzip", gzip(PLAIN), 4)] {
        let fixture = Fixture::new(Some(method));
        let path = fixture.file("m.ko.z", &contents);
        assert_eq!(fixture.insert(&path, Force::default()), Ok(Outcome::Loaded));
        assert_eq!(fixture.calls(), [Call::Finit("m".into(), b"a=1 ".to_vec(), flags)], "{method}");
    }
    let fixture = Fixture::new(Some("xz"));
    let path = fixture.file("m.ko.xz", &xz(PLAIN));
    assert_eq!(fixture.insert(&path, everything), Ok(Outcome::Loaded));
    assert_eq!(fixture.calls(), [Call::Finit("m".into(), b"a=1 ".to_vec(), 7)]);
    for method in [None, Some("zstd")] {
        let fixture = Fixture::new(method);
        let path = fixture.file("m.ko.xz", &xz(PLAIN));
        assert_eq!(fixture.insert(&path, Force::default()), Ok(Outcome::Loaded));
        assert_eq!(fixture.calls(), [Call::Init(PLAIN.len(), b"a=1 ".to_vec())]);
    }
}

#[test]
fn a_check_that_the_kernel_does_not_know_is_made_here() {
    use xz2::stream::Check;
    for (check, direct) in
        [(Check::None, true), (Check::Crc32, true), (Check::Crc64, false), (Check::Sha256, false)]
    {
        let fixture = Fixture::new(Some("xz"));
        let path = fixture.file("m.ko.xz", &xz_with(PLAIN, check));
        assert_eq!(fixture.insert(&path, Force::default()), Ok(Outcome::Loaded));
        let finit = Call::Finit("m".into(), b"a=1 ".to_vec(), kernel::COMPRESSED_FILE as _);
        let init = Call::Init(PLAIN.len(), b"a=1 ".to_vec());
        assert_eq!(fixture.calls(), [if direct { finit } else { init }], "{check:?}");
    }
}

/// A file of two compressed parts, one for each half of the module.
fn halves(compress: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (first, second) = PLAIN.split_at(PLAIN.len() / 2);
    [compress(first), compress(second)].concat()
}

fn zstd(contents: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(contents, 1).unwrap()
}

#[test]
fn a_file_whose_second_part_the_kernel_does_not_see_is_decompressed_here_once_it_was_refused() {
    type Compress = fn(&[u8]) -> Vec<u8>;
    for (method, compress) in [("xz", xz as Compress), ("gzip", gzip), ("zstd", zstd)] {
        for errno in [Errno::ENOEXEC, Errno::EINVAL, Errno::EKEYREJECTED] {
            let fixture = Fixture::new(Some(method));
            let path = fixture.file("m.ko.z", &halves(compress));
            *fixture.kernel.answers.lock().unwrap() = vec![Some(errno)];
            assert_eq!(fixture.insert(&path, Force::default()), Ok(Outcome::Loaded), "{method} {errno}");
            let calls = fixture.calls();
            assert!(matches!(calls[0], Call::Finit(_, _, kernel::COMPRESSED_FILE)), "{calls:?}");
            assert_eq!(calls[1..], [Call::Init(PLAIN.len(), b"a=1 ".to_vec())], "{method} {errno}");
        }
        // A file of one part was decoded whole. ENODEV is an errno of the module's init, so the kernel had decoded it.
        for (contents, errno) in [(compress(PLAIN), Errno::ENOEXEC), (halves(compress), Errno::ENODEV)] {
            let fixture = Fixture::new(Some(method));
            let path = fixture.file("m.ko.z", &contents);
            *fixture.kernel.answers.lock().unwrap() = vec![Some(errno)];
            assert_eq!(fixture.insert(&path, Force::default()).unwrap_err().errno(), errno, "{method}");
            assert_eq!(fixture.calls().len(), 1, "{method} {errno}");
        }
    }
}

#[test]
fn a_filter_that_no_kernel_has_is_undone_here_at_once() {
    use xz2::stream::{Action, Check, Filters, LzmaOptions, Status, Stream};
    let mut filters = Filters::new();
    filters.delta_properties(&[0]).unwrap().lzma2(&LzmaOptions::new_preset(0).unwrap());
    let mut packed = Vec::with_capacity(1000);
    let mut stream = Stream::new_stream_encoder(&filters, Check::Crc32).unwrap();
    assert_eq!(stream.process_vec(PLAIN, &mut packed, Action::Finish), Ok(Status::StreamEnd));
    let fixture = Fixture::new(Some("xz"));
    let path = fixture.file("m.ko.xz", &packed);
    assert_eq!(fixture.insert(&path, Force::default()), Ok(Outcome::Loaded));
    assert_eq!(fixture.calls(), [Call::Init(PLAIN.len(), b"a=1 ".to_vec())]);
}

#[test]
fn what_comes_through_a_pipe_is_handed_over_from_memory() {
    for contents in [PLAIN.to_vec(), xz(PLAIN), halves(gzip)] {
        let fixture = Fixture::new(Some("xz"));
        let path = fixture.dir.path().join("m.ko");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let to = path.clone();
        let writer = std::thread::spawn(move || std::fs::write(to, contents).unwrap());
        assert_eq!(fixture.insert_as(&path, None, Force::default()), Ok(Outcome::Loaded));
        writer.join().unwrap();
        // A FIFO in a module directory is not waited for.
        let refused = fixture.insert(&path, Force::default()).unwrap_err();
        assert_eq!(refused.errno(), Errno::ESPIPE);
        assert_eq!(fixture.calls(), [Call::Init(PLAIN.len(), b"a=1 ".to_vec())]);
    }
}

#[test]
fn a_pipe_is_known_by_what_came_through_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.ko");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let to = path.clone();
    let writer = std::thread::spawn(move || std::fs::write(to, PLAIN).unwrap());
    let opened = Opened::new(ModuleFile::open(&path).unwrap(), &path).unwrap();
    writer.join().unwrap();
    let inode = record::file_digest(&opened.module.meta);
    assert_eq!(opened.digest(), record::digest(inode, PLAIN, 0));
    assert_ne!(opened.digest(), inode);
}

#[test]
fn a_device_is_refused_at_once() {
    let fixture = Fixture::new(None);
    let link = fixture.dir.path().join("m.ko");
    std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
    for path in [&link, Path::new("/dev/zero"), Path::new("/proc/self/pagemap")] {
        assert_eq!(fixture.insert(path, Force::default()).unwrap_err().errno(), Errno::EINVAL);
    }
    assert_eq!(fixture.calls(), []);
}

#[test]
fn enosys_and_eopnotsupp_fall_back_and_einval_is_final() {
    for (answer, calls) in [(Errno::ENOSYS, 2), (Errno::EOPNOTSUPP, 2), (Errno::EINVAL, 1), (Errno::EPERM, 1)]
    {
        let fixture = Fixture::new(Some("xz"));
        let path = fixture.file("m.ko.xz", &xz(PLAIN));
        *fixture.kernel.answers.lock().unwrap() = vec![Some(answer)];
        let result = fixture.insert(&path, Force::default());
        assert_eq!(fixture.calls().len(), calls, "{answer}");
        assert_eq!(result.is_ok(), calls == 2, "{answer}");
    }
}

#[test]
fn a_file_that_is_no_module_names_itself_in_the_message() {
    let fixture = Fixture::new(None);
    let mut damaged = xz(PLAIN);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    let path = fixture.file("m.ko.xz", &damaged);
    assert_eq!(fixture.insert(&path, Force::default()).unwrap_err().errno(), Errno::EINVAL);
    let (priority, text) = fixture.sink.take().remove(0);
    assert_eq!(priority, Priority::Err);
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with("m.ko.xz: xz: File is corrupt"), "{text}");
    for (contents, errno) in [(&b""[..], Errno::EINVAL), (b"\x7fELF", Errno::EINVAL)] {
        let path = fixture.file("short.ko", contents);
        assert_eq!(fixture.insert(&path, Force::default()).unwrap_err().errno(), errno);
    }
    assert_eq!(fixture.insert(fixture.dir.path(), Force::default()).unwrap_err().errno(), Errno::EISDIR);
    let missing = fixture.dir.path().join("none.ko");
    assert_eq!(fixture.insert(&missing, Force::default()).unwrap_err().errno(), Errno::ENOENT);
    assert_eq!(fixture.calls(), []);
}

#[test]
fn a_name_that_would_leave_the_gate_is_refused() {
    let fixture = Fixture::new(None);
    let path = fixture.file("m.ko", PLAIN);
    let system = System { roots: &fixture.roots, kernel: &fixture.kernel, clock: &Real };
    let gate = Gate::with_settings(system, &fixture.sink, Origin::default(), Settings::default());
    let result = Loader::new(system, &gate, &fixture.sink).insert(&Insertion {
        path: &path,
        name: Some(b"../../etc/passwd"),
        parameters: b"",
        force: Force::default(),
        budget: &WaitBudget::new(&system),
        dependency: false,
        remember: false,
        request: b"",
    });
    assert_eq!(result.unwrap_err().errno(), Errno::EINVAL);
    assert_eq!(fixture.calls(), []);
    assert_eq!(std::fs::read_dir(&fixture.roots.run).unwrap().count(), 0);
}
