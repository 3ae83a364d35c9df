//! What work costs: requests of the kernel, and objects fetched.

use super::*;

/// How often something is tried that the kernel may spoil.
const ATTEMPTS: usize = 3;

fn ls(path: &Path) -> usize {
    let output = Command::new("ls").arg("-l").arg(path).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success());
    output.stdout.iter().filter(|byte| **byte == b'\n').count() - 1
}

#[test]
fn a_second_ls_costs_nothing() {
    if obstacle().is_some() {
        return;
    }
    let (archive, root) = wide(10_000);
    let mounted = mounted(archive, &[root]);
    let path = mounted.version(1).join("d");
    // The path to the folder is looked up before it is counted.
    fs::metadata(&path).unwrap();
    let before = mounted.handle.requests();
    assert_eq!(ls(&path), 10_000);
    let first = mounted.handle.requests();
    // `ls` reads with a buffer of 32 KiB; a line takes 152 bytes and the name, rounded up to 8. One more for the end. Newer kernels ask for more at once.
    let pages = 10_000u64.div_ceil(32_768 / (152 + 16)) + 1;
    assert!((1..=pages).contains(&(first.listings - before.listings)), "{pages}: {before:?} {first:?}");
    assert_eq!(first.lookups - before.lookups, 0, "attributes come with the names");
    assert!(
        first.xattrs - before.xattrs <= 1 && first.attributes - before.attributes <= 1,
        "{before:?} {first:?}"
    );
    assert_eq!(first.directories_opened - before.directories_opened, 1, "{first:?}");
    let told: serde_json::Value =
        serde_json::from_slice(&fs::read(mounted.point.path().join(".backstore/status.json")).unwrap())
            .unwrap();
    assert_eq!(told["requests"]["listings"], first.listings, "{told}");
    let costs = |_| {
        let before = mounted.handle.requests();
        assert_eq!(ls(&path), 10_000);
        let after = mounted.handle.requests();
        assert!(
            after.attributes - before.attributes <= 1,
            "the folder's own attributes hold for a second only"
        );
        let all = |requests: Requests| {
            requests.listings + requests.lookups + requests.directories_opened + requests.xattrs
        };
        all(after) - all(before)
    };
    // The kernel may drop pages at any moment.
    assert_eq!((0..ATTEMPTS).map(costs).min(), Some(0), "{:?}", mounted.handle.requests());
}

#[test]
fn a_second_cat_reads_nothing() {
    if obstacle().is_some() {
        return;
    }
    let mut archive = TestArchive::new();
    file(&mut archive, "/small", noise(3000, 1));
    file(&mut archive, "/large", noise(4_000_000, 2));
    let first = archive.finish();
    file(&mut archive, "/small", noise(3000, 1));
    file(&mut archive, "/large", noise(4_000_000, 2));
    file(&mut archive, "/third", noise(3000, 3));
    let second = archive.finish();
    let mounted = mounted(archive, &[first, second]);
    for name in ["small", "large"] {
        let read = |number| fs::read(mounted.version(number).join(name)).unwrap();
        let costs = |_| {
            let expected = read(1);
            let before = mounted.handle.requests();
            assert_eq!(read(1), expected);
            assert_eq!(read(2), expected, "the same inode, the same pages");
            mounted.handle.requests().reads - before.reads
        };
        // The kernel may drop pages at any moment.
        assert_eq!((0..ATTEMPTS).map(costs).min(), Some(0), "{name}: {:?}", mounted.handle.requests());
    }
}

#[test]
fn thumbnailers_do_not_fetch_the_archive() {
    if obstacle().is_some() {
        return;
    }
    let programs = TempDir::new().unwrap();
    let as_program = |name: &str| {
        let program = programs.path().join(name);
        fs::copy("/bin/cat", &program).unwrap();
        program
    };
    let pictures = || {
        let mut archive = TestArchive::new();
        directory(&mut archive, "/p");
        for number in 0..20 {
            file(&mut archive, &format!("/p/{number:02}.jpg"), noise(1_500_000, number));
        }
        file(&mut archive, "/p/small.jpg", noise(300_000, 99));
        let root = archive.finish();
        (archive, root)
    };
    let read_all = |mounted: &Mounted, program: &Path, names: &str| {
        let folder = mounted.version(1).join("p");
        let shell = format!("exec \"$0\" {names}");
        let mut command = Command::new("sh");
        command.arg("-c").arg(&shell).arg(program).current_dir(folder).stderr(Stdio::null());
        let output = command.output().unwrap();
        (output.status.success(), output.stdout.len())
    };
    let (archive, root) = pictures();
    let mounted = mounted(archive, &[root]);
    let thumbnailer = as_program("tumblerd");
    assert_eq!(read_all(&mounted, &thumbnailer, "??.jpg"), (false, 0));
    assert_eq!(read_all(&mounted, &as_program("tracker-extract-3"), "small.jpg"), (false, 0));
    assert_eq!(read_all(&mounted, &thumbnailer, "small.jpg"), (true, 300_000));
    assert!(mounted.handle.requests().bytes_read <= 300_000, "{:?}", mounted.handle.requests());
    assert_eq!(read_all(&mounted, &as_program("viewer"), "00.jpg"), (true, 1_500_000));
    let (archive, root) = pictures();
    let options = MountOptions { thumbnails: Thumbnails::All, ..MountOptions::default() };
    let mounted = mount_with(archive, &[root], &options, &ReaderOptions::default());
    assert_eq!(read_all(&mounted, &thumbnailer, "0?.jpg"), (true, 15_000_000));
}

#[test]
fn diff_of_two_versions_reads_nothing_equal() {
    if obstacle().is_some() {
        return;
    }
    let mut archive = TestArchive::new();
    let mut make = |last| {
        directory(&mut archive, "/d");
        (0..50).for_each(|number| file(&mut archive, &format!("/d/{number:02}"), noise(2000, number)));
        file(&mut archive, "/d/last", noise(2000, last));
        archive.finish()
    };
    let roots = [make(100), make(101)];
    let mounted = mounted(archive, &roots);
    let output =
        Command::new("diff").arg("-rq").args([mounted.version(1), mounted.version(2)]).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.lines().count() == 1 && told.contains("last"), "{told}");
    assert_eq!(mounted.handle.requests().reads, 2);
}

#[test]
fn random_reads_fetch_each_chunk_once() {
    if obstacle().is_some() {
        return;
    }
    // The kernel may drop pages at any moment.
    let costs: Vec<_> = (0..ATTEMPTS).map(|_| read_every_page_at_random()).collect();
    assert!(costs.iter().any(RandomReads::are_few), "{costs:?}");
}

/// What it cost to read all pages of a file, each some megabytes from the one before.
#[derive(Debug)]
struct RandomReads {
    /// Chunks of the file, and how often one was fetched.
    chunks: usize,
    fetches: usize,
    /// Chunks and map nodes, and how often the kernel asked.
    objects: usize,
    reads: u64,
}

impl RandomReads {
    fn are_few(&self) -> bool {
        // A page that two chunks share comes with the second of them; before that, or if it was forgotten meanwhile, both are fetched for it.
        self.fetches <= self.chunks + self.chunks / 4 && self.reads <= self.objects as u64 * 5 / 4
    }
}

fn read_every_page_at_random() -> RandomReads {
    let bytes = noise(24 << 20, 1);
    let mut archive = TestArchive::new();
    file(&mut archive, "/disk", bytes.clone());
    let root = archive.finish();
    // So small a cache that only the page cache can hold what was fetched.
    let reading =
        ReaderOptions { data_cache_bytes: 3 << 20, ahead_bytes_max: 1 << 20, ..ReaderOptions::default() };
    let mounted = mount_with(archive, &[root], &MountOptions::default(), &reading);
    let disk = File::open(mounted.version(1).join("disk")).unwrap();
    mounted.source().take_calls();
    let mut buffer = [0; 4096];
    let pages = 24 << 8;
    for page in (1..=pages).map(|step| step * 1571 % pages) {
        let before = mounted.handle.requests();
        disk.read_exact_at(&mut buffer, page * 4096).unwrap();
        assert_eq!(buffer, bytes[page as usize * 4096..][..4096]);
        // Where the pages before are there already the kernel reads more than was asked for, and nothing is left to push.
        let bytes = mounted.handle.requests().bytes_read - before.bytes_read;
        if (1..64 << 10).contains(&bytes) {
            while mounted.handle.requests().pushes == before.pushes {
                thread::yield_now();
            }
        }
    }
    let chunks = mounted.source().ids(ObjectKind::Data);
    RandomReads {
        chunks: chunks.len(),
        fetches: chunks.iter().map(|id| mounted.source().times_asked(id)).sum(),
        objects: chunks.len() + mounted.source().ids(ObjectKind::Map).len(),
        reads: mounted.handle.requests().reads,
    }
}
