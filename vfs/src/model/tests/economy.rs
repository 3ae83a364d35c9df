//! How much is fetched, kept and given unasked.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn sniffing_fetches_one_object() {
    let mut archive = TestArchive::new();
    for number in 0..20u64 {
        archive.add(&unix(&format!("/{number:02}")), Entry::new(Kind::File), &file(&noise(6 << 20, number)));
    }
    let root = archive.finish();
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let top = find(&snapshots, "1970-01-12_14-46-50").unwrap();
    let files = list(&snapshots, top.ino);
    archive.source().take_calls();
    for (_, attributes) in files {
        assert_eq!(snapshots.read(attributes.ino, 0, 4096, WAIT).unwrap().runs[0].length(), 4096);
    }
    let asked: Vec<_> = archive.source().take_calls().into_iter().flatten().collect();
    let data: HashSet<_> = archive.source().ids(ObjectKind::Data).into_iter().collect();
    let asked = asked.iter().filter(|id| data.contains(*id));
    assert_eq!(asked.count(), 20, "one bundle of each file, and nothing of the files after it");
}

#[test]
fn what_was_ahead_of_who_reads_elsewhere_or_not_at_all_is_called_off() {
    let mut archive = TestArchive::new();
    archive.add(&unix("/large"), Entry::new(Kind::File), &file(&noise(16 << 20, 1)));
    let Content::Extents(other) = archive.value(&noise(5000, 2)) else { panic!("no object") };
    let other = other[0].object().unwrap();
    let root = archive.finish();
    let options = ReaderOptions { reads_max: 2, ..ReaderOptions::default() };
    let snapshots = with_options(&archive, vec![at(1, root)], &options);
    let top = find(&snapshots, "1970-01-12_14-46-50").unwrap();
    let large = list(&snapshots, top.ino)[0].1.ino;
    // The one call that may be made for nobody hangs, so what is ahead stands in line.
    archive.source().stick_at(other.id);
    snapshots.reader.prefetch([Want::Data(other)]);
    archive.source().wait_for_calls(&[other.id]);
    let begin = |offset| {
        snapshots.read(large, offset, 128 << 10, WAIT).unwrap();
        snapshots.reader.ahead_bytes()
    };
    assert!(begin(0) > 3 << 20);
    assert_eq!(begin(12 << 20), 5000, "it reads elsewhere");
    assert!(begin((12 << 20) + (128 << 10)) > 2 << 20);
    snapshots.forget(large, 1);
    assert_eq!(snapshots.reader.ahead_bytes(), 5000, "it does not read any more");
    archive.source().heal();
}

#[test]
fn neighbours_are_fetched_and_given_before_they_are_read() {
    let mut archive = TestArchive::new();
    let root = many(&mut archive);
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let top = find(&snapshots, "1970-01-12_14-46-50").unwrap();
    let files = list(&snapshots, top.ino);
    let (give, given) = std::sync::mpsc::channel();
    let give = Mutex::new(give);
    snapshots.set_spare_taker(Arc::new(move |spare| give.lock().unwrap().send(spare).unwrap()));
    let numbers: HashMap<_, u64> =
        files.iter().zip(0..).map(|((_, attributes), number)| (attributes.ino, number)).collect();
    let mut in_page_cache = BTreeSet::new();
    let take = |spare: Spare, in_page_cache: &mut BTreeSet<Ino>| {
        let number = numbers[&spare.ino];
        let expected = noise(if number % 100 == 7 { 300_000 } else { 5000 }, number);
        assert_eq!((spare.offset, spare.size, &spare.bytes[..]), (0, expected.len() as u64, &expected[..]));
        in_page_cache.insert(spare.ino);
    };
    for (_, attributes) in &files[..3] {
        snapshots.read(attributes.ino, 0, 100, WAIT).unwrap();
    }
    // A reader that goes on in order finds nearly all it reads in its page cache.
    let mut asked = 0;
    take(given.recv().unwrap(), &mut in_page_cache);
    for (_, attributes) in &files[3..] {
        given.try_iter().for_each(|spare| take(spare, &mut in_page_cache));
        if !in_page_cache.contains(&attributes.ino) {
            snapshots.read(attributes.ino, 0, 100, WAIT).unwrap();
            asked += 1;
        }
    }
    drop(snapshots);
    given.iter().for_each(|spare| take(spare, &mut in_page_cache));
    assert!(in_page_cache.len() > files.len() * 9 / 10, "{} given, {asked} asked for", in_page_cache.len());
}

/// Who listed a directory while as many waited to be fetched ahead as can waited for a lock of their own, for ever.
#[test]
fn listing_goes_on_where_too_much_waits_to_be_fetched_ahead() {
    let mut archive = TestArchive::new();
    for directory in 0..60u64 {
        archive.add(&unix(&format!("/{directory:02}")), Entry::new(Kind::Directory), &[]);
    }
    for number in 0..600u64 {
        let path = unix(&format!("/{:02}/{number:03}", number / 10));
        archive.add(&path, Entry::new(Kind::File), &file(&noise(300 + number as usize, number)));
    }
    let root = archive.finish();
    let snapshots = Arc::new(snapshots(&archive, vec![at(1, root)]));
    // Whoever takes what was fetched ahead takes its time, once there is a habit to be guessed from.
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let (is_slow, ended) = (Arc::new(AtomicBool::new(false)), Mutex::new(ended));
    let slow = Arc::clone(&is_slow);
    snapshots.set_spare_taker(Arc::new(move |_| {
        if slow.load(Ordering::Relaxed) {
            let _ = ended.lock().unwrap().recv();
        }
    }));
    let (listed, all_listed) = std::sync::mpsc::channel();
    let model = Arc::clone(&snapshots);
    std::thread::spawn(move || {
        let top = find(&model, "1970-01-12_14-46-50").unwrap();
        for (number, (_, directory)) in list(&model, top.ino).into_iter().enumerate() {
            is_slow.store(number > 20, Ordering::Relaxed);
            for (_, file) in list(&model, directory.ino).into_iter().filter(|_| number <= 20) {
                model.read(file.ino, 0, 100, WAIT).unwrap();
            }
        }
        listed.send(()).unwrap();
    });
    all_listed.recv_timeout(Duration::from_secs(60)).expect("all directories are listed");
    drop(end);
}

#[test]
fn who_reads_a_tree_finds_the_next_directories_read() {
    let mut archive = TestArchive::new();
    for directory in 0..40u64 {
        archive.add(&unix(&format!("/{directory:02}")), Entry::new(Kind::Directory), &[]);
    }
    for number in 0..400u64 {
        let path = unix(&format!("/{:02}/{number:03}", number / 10));
        archive.add(&path, Entry::new(Kind::File), &file(&noise(300 + number as usize, number)));
    }
    let root = archive.finish();
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let (give, given) = std::sync::mpsc::channel();
    let give = Mutex::new(give);
    snapshots.set_spare_taker(Arc::new(move |spare: Spare| give.lock().unwrap().send(spare.ino).unwrap()));
    let top = find(&snapshots, "1970-01-12_14-46-50").unwrap();
    let mut asked = 0;
    for (at, (_, directory)) in list(&snapshots, top.ino).into_iter().enumerate() {
        let files = list(&snapshots, directory.ino);
        // From the third directory on listing it is enough: all but the file left out are given.
        let expected = if at < 2 { 0 } else { files.len() - 1 };
        let in_page_cache: BTreeSet<_> = (0..expected).map(|_| given.recv().unwrap()).collect();
        let missing = files.iter().filter(|(_, attributes)| !in_page_cache.contains(&attributes.ino));
        for (_, attributes) in missing.take(2) {
            snapshots.read(attributes.ino, 0, 100, WAIT).unwrap();
            asked += 1;
        }
    }
    assert_eq!(asked, 2 * 2 + 38);
}

/// 400 directories of 40 fifos with long names, in the top directory: a tree of many leaves.
fn broad(archive: &mut TestArchive) -> Root {
    archive.add(&unix("/"), Entry::new(Kind::Directory), &[]);
    for directory in 0..400 {
        archive.add(&unix(&format!("/{directory:03}")), Entry::new(Kind::Directory), &[]);
        for number in 0..40 {
            let name = format!("{number:03}{}", "x".repeat(200));
            let key = child_key(format!("/\0{directory:03}").as_bytes(), name.as_bytes());
            archive.add_raw(key, Entry::new(Kind::Fifo));
        }
    }
    archive.finish()
}

#[test]
fn who_walks_a_tree_has_it_fetched_in_a_few_calls() {
    let mut archive = TestArchive::new();
    let root = broad(&mut archive);
    let nodes = archive.source().ids(ObjectKind::Tree);
    assert!(nodes.len() > 60, "{} nodes", nodes.len());
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let top = find(&snapshots, "1970-01-12_14-46-50").unwrap();
    for (_, directory) in list(&snapshots, top.ino) {
        assert_eq!(list(&snapshots, directory.ino).len(), 40);
    }
    let calls = archive.source().take_calls();
    let asked: Vec<_> = calls.iter().flatten().collect();
    assert_eq!(asked.len(), nodes.len(), "each node once");
    assert!(calls.len() <= nodes.len() / 4, "{} calls for {} nodes", calls.len(), nodes.len());
}

#[test]
fn who_looks_around_has_little_fetched() {
    let mut archive = TestArchive::new();
    let root = broad(&mut archive);
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let paths = [390, 12, 200].map(|directory| format!("1970-01-12_14-46-50/{directory:03}"));
    for path in &paths {
        let found = find(&snapshots, path).unwrap();
        list(&snapshots, found.ino);
    }
    let asked = archive.source().take_calls().into_iter().flatten().count();
    let nodes = archive.source().ids(ObjectKind::Tree).len();
    // A few leaves after each place, and the way there.
    assert!(asked <= 3 * (8 + 3) && asked < nodes / 2, "{asked} of {nodes} nodes");
}

#[test]
fn random_reads_give_the_rest_of_the_chunk() {
    let mut archive = TestArchive::new();
    archive.add(&unix("/disk"), Entry::new(Kind::File), &file(&noise(12 << 20, 1)));
    let root = archive.finish();
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let disk = find(&snapshots, "1970-01-12_14-46-50/disk").unwrap();
    let reading = snapshots.read(disk.ino, 7 << 20, 4096, WAIT).unwrap();
    let [spare] = &reading.spare[..] else { panic!("{:?}", reading.spare.len()) };
    let range = spare.offset as usize..spare.offset as usize + spare.bytes.len();
    assert!(range.contains(&(7 << 20)) && range.len() > 4096);
    assert_eq!(spare.bytes, noise(12 << 20, 1)[range]);
    assert_eq!((spare.ino, spare.size), (disk.ino, 12 << 20));
    // From front to back nothing is spare: the system comes for it itself.
    for at in 0..5 {
        let reading = snapshots.read(disk.ino, (7 << 20) + 4096 * (at + 1), 4096, WAIT).unwrap();
        assert!(reading.spare.is_empty());
    }
}

/// Such a file fetched its objects ten times over: once for each stretch of them.
#[test]
fn random_reads_give_all_stretches_of_the_object() {
    const PART: usize = 100_000;
    let mut archive = TestArchive::new();
    let (old, new) = (noise(10 * PART, 1), noise(PART, 2));
    let object = |content: &Content| match content {
        Content::Extents(extents) => extents[0].object().unwrap(),
        other => panic!("{other:?}"),
    };
    let (old_object, new_object) = (object(&archive.value(&old)), object(&archive.value(&new)));
    let part = |from: usize, parts: usize| Extent::Data {
        object: old_object,
        offset: (from * PART) as u32,
        length: (parts * PART) as u32,
    };
    let changed = Extent::Data { object: new_object, offset: 0, length: PART as u32 };
    // The third and the seventh part are others now.
    let extents = vec![part(0, 2), changed, part(3, 3), changed, part(7, 3)];
    let mut entry = Entry::new(Kind::File);
    (entry.size, entry.content) = (10 * PART as u64, Content::Extents(extents.into()));
    entry.content_hash = Some(backstore_protocol::ids::ContentHash::from_bytes([7; 16]));
    archive.add_raw(unix("/disk").key(), entry);
    let root = archive.finish();
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let disk = find(&snapshots, "1970-01-12_14-46-50/disk").unwrap();
    let reading = snapshots.read(disk.ino, 4 * PART as u64, 4096, WAIT).unwrap();
    let given: Vec<_> =
        reading.spare.iter().map(|spare| (spare.offset as usize / PART, spare.bytes.len() / PART)).collect();
    assert_eq!(given, [(3, 3), (0, 2), (7, 3)]);
    for spare in reading.spare {
        assert_eq!(spare.bytes, old[spare.offset as usize..][..spare.bytes.len()]);
    }
    // An object that one stretch has whole is not looked for elsewhere, and each stretch is given once.
    let reading = snapshots.read(disk.ino, 6 * PART as u64 - 4096, 8192, WAIT).unwrap();
    let starts: BTreeSet<_> = reading.spare.iter().map(|spare| spare.offset as usize / PART).collect();
    assert_eq!((starts.len(), reading.spare.len()), (4, 4), "{starts:?}");
}

#[test]
fn who_reads_half_of_a_region_here_and_there_is_given_the_rest() {
    const SIZE: usize = 36 << 20;
    const REGION: usize = 32 << 20;
    let bytes = noise(SIZE, 1);
    let mut archive = TestArchive::new();
    archive.add(&unix("/disk"), Entry::new(Kind::File), &file(&bytes));
    let root = archive.finish();
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let (give, given) = std::sync::mpsc::channel();
    let give = Mutex::new(give);
    snapshots.set_spare_taker(Arc::new(move |spare: Spare| give.lock().unwrap().send(spare).unwrap()));
    let disk = find(&snapshots, "1970-01-12_14-46-50/disk").unwrap();
    archive.source().take_calls();
    let mut read = BTreeMap::new();
    // Back and forth, so that no read goes on where another ended.
    for step in 1..24 {
        let covered: usize = read.values().sum();
        if 2 * covered >= REGION {
            break;
        }
        assert!(given.try_recv().is_err(), "given after {covered} bytes were read");
        let offset = (step * 7 % 24 * 1365) << 10;
        for spare in snapshots.read(disk.ino, offset, 4096, WAIT).unwrap().spare {
            read.insert(spare.offset as usize, spare.bytes.len());
        }
    }
    drop(snapshots);
    for spare in given {
        let start = spare.offset as usize;
        assert!(start < REGION && !read.contains_key(&start), "{start}");
        assert!(spare.ino == disk.ino && spare.bytes == bytes[start..start + spare.bytes.len()]);
        read.insert(start, spare.bytes.len());
    }
    let mut end = 0;
    for (start, length) in read {
        assert_eq!(start, end, "a gap");
        end = start + length;
    }
    assert!((REGION..SIZE).contains(&end), "{end}");
    let objects = archive.source().ids(ObjectKind::Data);
    assert!(objects.iter().all(|id| archive.source().times_asked(id) <= 1), "fetched again");
}

#[test]
fn what_was_read_from_front_to_back_makes_room() {
    const SIZE: usize = 40 << 20;
    let mut archive = TestArchive::new();
    archive.add(&unix("/film"), Entry::new(Kind::File), &file(&noise(SIZE, 1)));
    let root = archive.finish();
    let reader = ObjectReader::new(archive.source(), archive.keys(), &ReaderOptions::default()).unwrap();
    let snapshots = Snapshots::new(&reader, options_of_folder()).unwrap();
    snapshots.set_versions(vec![at(1, root)]);
    let film = find(&snapshots, "1970-01-12_14-46-50/film").unwrap();
    let mut bytes = Vec::new();
    while bytes.len() < SIZE {
        for run in snapshots.read(film.ino, bytes.len() as u64, 128 << 10, WAIT).unwrap().runs {
            let Run::Data(data) = run else { panic!("{run:?}") };
            bytes.extend_from_slice(&data);
        }
    }
    assert!(bytes == noise(SIZE, 1));
    let held = reader.cached_bytes().1;
    assert!(held < 16 << 20, "{held} bytes are held behind the reader");
    let objects = archive.source().ids(ObjectKind::Data);
    let times: Vec<_> = objects.iter().map(|id| archive.source().times_asked(id)).collect();
    assert!(times.iter().all(|times| *times == 1), "each object came once: {times:?}");
    // Who goes back finds everything, fetched again.
    let again = snapshots.read(film.ino, 1 << 20, 4096, WAIT).unwrap();
    assert_eq!(again.runs, [Run::Data(noise(SIZE, 1)[1 << 20..(1 << 20) + 4096].to_vec().into())]);
}
