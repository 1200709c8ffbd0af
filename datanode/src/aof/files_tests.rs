//! Interrupts a log's life at every single operation and loads what is left. The "dataset" is a list of numbers, the
//! commands are `ADD n` in sequence: so what is loaded must be 1, 2, 3 … up to at least the last number that was synced.

use super::*;
use crate::aof::read::{LogReader, ReadError};
use crate::disk_fake::{FakeDisk, Fault, Survives};
use crate::resp::encode_command;

const ROOT: &str = "/data";

/// What the process knows when it dies.
#[derive(Default)]
struct Life {
    written: u64,
    synced: u64,
}

impl Life {
    fn add(&mut self, log: &mut Appender) {
        self.written += 1;
        encode_command(log.pending(), &["ADD", &self.written.to_string()]);
    }

    fn sync(&mut self, log: &mut Appender) -> Result<(), FilesError> {
        log.sync().map_err(io_error("sync", Path::new(ROOT)))?;
        self.synced = self.written;
        Ok(())
    }
}

fn open(disk: &FakeDisk) -> Result<AofFiles, FilesError> {
    AofFiles::open(Arc::new(disk.clone()), Path::new(ROOT), "appendonlydir", "appendonly.aof")
}

/// Loads the log as a server does, cutting a torn tail off; how many numbers it has.
fn load(files: &AofFiles) -> Result<u64, FilesError> {
    let mut count = 0;
    for part in files.parts()? {
        let mut reader = LogReader::new(files.disk.open_read(&part.path).unwrap(), 0);
        loop {
            match reader.next_command() {
                Ok(None) => break,
                Ok(Some(c)) => {
                    count += 1;
                    assert_eq!(c[1], count.to_string().as_bytes(), "a gap or a repetition in {part:?}");
                }
                Err(ReadError::Truncated { valid, .. }) if part.may_be_cut => {
                    files.cut(&part, valid)?;
                    break;
                }
                Err(e) => panic!("{part:?}: {e}"),
            }
        }
    }
    Ok(count)
}

fn write_base(files: &mut AofFiles, numbers: u64) -> Result<(), FilesError> {
    let path = files.temp_base();
    let file = files.disk.create(&path).map_err(io_error("create", &path))?;
    let mut bytes = Vec::new();
    for n in 1..=numbers {
        encode_command(&mut bytes, &["ADD", &n.to_string()]);
    }
    file.append(&bytes).map_err(io_error("write", &path))?;
    files.publish_base(&*file, BaseFormat::Aof)
}

fn delete_history(files: &mut AofFiles) -> Result<(), FilesError> {
    for path in files.history() {
        files.disk.remove(&path).map_err(io_error("remove", &path))?;
    }
    files.forget_history()
}

/// Start with whatever is there, write, rewrite, write.
fn live(disk: &FakeDisk, life: &mut Life) -> Result<(), FilesError> {
    let mut files = open(disk)?;
    life.written = load(&files)?;
    assert!(life.written >= life.synced, "lost {}: only {} there", life.synced, life.written);
    let mut log = match files.resume()? {
        Some(log) => log,
        None => {
            let mut log = files.begin_anew()?;
            let captured = life.written;
            life.add(&mut log);
            log.sync().map_err(io_error("sync", Path::new(ROOT)))?;
            write_base(&mut files, captured)?;
            log
        }
    };
    life.synced = life.written;
    for _ in 0..2 {
        life.add(&mut log);
        life.sync(&mut log)?;
        life.add(&mut log);
        log.flush().map_err(io_error("write", Path::new(ROOT)))?;
        let next = files.next_incr()?;
        life.add(&mut log);
        life.sync(&mut log)?;
        log = next;
        let captured = life.written;
        life.add(&mut log);
        life.add(&mut log);
        life.sync(&mut log)?;
        life.add(&mut log);
        write_base(&mut files, captured)?;
        life.add(&mut log);
        life.sync(&mut log)?;
        delete_history(&mut files)?;
    }
    life.add(&mut log);
    life.sync(&mut log)
}

fn outcomes() -> impl Iterator<Item = Survives> {
    [Survives::Nothing, Survives::Everything]
        .into_iter()
        .chain((1..8).map(|s| Survives::Some(s * 0x9e37_79b9)))
}

/// Runs `live` on `start` with a crash at every operation, and again with a crash at every operation of the recovery.
fn crash_everywhere(start: &FakeDisk, synced: u64) {
    let count = |disk: &FakeDisk| {
        let disk = disk.after_crash(Survives::Everything);
        disk.set_fault(Fault::None);
        live(&disk, &mut Life { written: 0, synced }).unwrap();
        disk.changes()
    };
    let total = count(start);
    assert!(total > 40);
    for at in 0..total {
        let disk = start.after_crash(Survives::Everything);
        disk.set_fault(Fault::CrashAt(at));
        let mut life = Life { written: 0, synced };
        live(&disk, &mut life).unwrap_err();
        for survives in outcomes() {
            let found = disk.after_crash(survives);
            let mut again = Life { written: 0, synced: life.synced };
            live(&found.after_crash(Survives::Everything), &mut again).unwrap();
            // The recovery may be interrupted as well.
            for at in 0..12 {
                let found = found.after_crash(Survives::Everything);
                found.set_fault(Fault::CrashAt(at));
                let mut second = Life { written: 0, synced: life.synced };
                let _ = live(&found, &mut second);
                let mut third = Life { written: 0, synced: second.synced };
                live(&found.after_crash(Survives::Nothing), &mut third).unwrap();
            }
        }
    }
}

#[test]
fn a_crash_at_any_operation_loses_nothing_synced() {
    crash_everywhere(&FakeDisk::with_dir(Path::new(ROOT)), 0);
}

#[test]
fn an_old_single_file_is_taken_over() {
    let disk = FakeDisk::with_dir(Path::new(ROOT));
    let mut bytes = Vec::new();
    for n in 1..=5 {
        encode_command(&mut bytes, &["ADD", &n.to_string()]);
    }
    let file = disk.create(&Path::new(ROOT).join("appendonly.aof")).unwrap();
    file.append(&bytes).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new(ROOT)).unwrap();
    crash_everywhere(&disk, 5);

    let files = open(&disk).unwrap();
    assert_eq!(files.manifest().format(), b"file appendonly.aof seq 1 type b\n");
    assert_eq!(disk.list(Path::new(ROOT)).unwrap(), ["appendonlydir"]);
}

#[test]
fn a_failed_operation_is_survived_without_restart() {
    let start = FakeDisk::with_dir(Path::new(ROOT));
    live(&start, &mut Life::default()).unwrap();
    for at in 0..60 {
        let disk = start.after_crash(Survives::Everything);
        let mut files = open(&disk).unwrap();
        let mut life = Life { written: load(&files).unwrap(), synced: 0 };
        let mut log = files.resume().unwrap().unwrap();
        disk.set_fault(Fault::FailAt(at));
        // Three rewrites, each given up at its first error, while the log goes on.
        for _ in 0..3 {
            life.add(&mut log);
            let begun = files.next_incr().is_ok_and(|next| {
                life.add(&mut log);
                let durable = log.sync().is_ok();
                if durable {
                    log = next;
                }
                durable
            });
            let captured = life.written;
            life.add(&mut log);
            if begun && write_base(&mut files, captured).is_ok() {
                let _ = delete_history(&mut files);
            }
            if log.sync_failed() {
                // Only a log begun anew is trusted again.
                log = files.begin_anew().unwrap();
                write_base(&mut files, life.written).unwrap();
            }
        }
        life.sync(&mut log).unwrap_or_else(|e| panic!("{at}: {e}"));
        for survives in outcomes() {
            let disk = disk.after_crash(survives);
            assert_eq!(load(&open(&disk).unwrap()).unwrap(), life.written, "failed at {at}, {survives:?}");
        }
    }
}

#[test]
fn a_full_disk_leaves_no_torn_command() {
    let disk = FakeDisk::with_dir(Path::new(ROOT));
    let path = Path::new(ROOT).join("log");
    let mut log = Appender::new(disk.create(&path).unwrap(), 0);
    log.pending().extend_from_slice(b"first");
    log.flush().unwrap();
    log.pending().extend_from_slice(b"second");
    disk.set_fault(Fault::CrashAt(0)); // the write and the truncation both fail
    assert!(log.flush().is_err());
    assert!(log.error().is_some());
    assert_eq!(disk::read(&disk, &path).unwrap(), b"firstsec");
    assert!(log.flush().is_err(), "nothing is written behind what is torn");
    assert_eq!(disk::read(&disk, &path).unwrap(), b"firstsec");
    disk.set_fault(Fault::None);
    log.pending().extend_from_slice(b"third");
    log.flush().unwrap();
    assert!(log.error().is_none());
    assert_eq!((log.written(), disk::read(&disk, &path).unwrap()), (16, b"firstsecondthird".to_vec()));
}

#[test]
fn a_failed_sync_is_not_forgotten() {
    let disk = FakeDisk::with_dir(Path::new(ROOT));
    let mut log = Appender::new(disk.create(&Path::new(ROOT).join("log")).unwrap(), 0);
    log.pending().extend_from_slice(b"x");
    disk.set_fault(Fault::FailAt(1));
    assert!(log.sync().is_err());
    log.pending().extend_from_slice(b"y");
    assert!(log.sync().is_err());
    assert_eq!((log.synced(), log.written()), (0, 1), "nothing is written behind a hole");
    assert!(log.error().is_some());
}

#[test]
fn only_the_end_of_the_log_may_be_cut() {
    let disk = FakeDisk::with_dir(Path::new(ROOT));
    live(&disk, &mut Life::default()).unwrap();
    let mut files = open(&disk).unwrap();
    let cuts = |files: &AofFiles| files.parts().unwrap().iter().map(|p| p.may_be_cut).collect::<Vec<_>>();
    assert_eq!(cuts(&files), [false, true]);
    files.resume().unwrap().unwrap();
    let mut log = files.next_incr().unwrap();
    assert_eq!(cuts(&files), [false, true, true], "nothing is in the third file yet");
    log.pending().push(b'*');
    log.flush().unwrap();
    assert_eq!(cuts(&files), [false, false, true]);
}

#[test]
fn a_log_begun_anew_counts_from_its_base_on() {
    let disk = FakeDisk::with_dir(Path::new(ROOT));
    let mut life = Life::default();
    live(&disk, &mut life).unwrap();
    let mut files = open(&disk).unwrap();
    let before = disk.list(&files.dir).unwrap();
    let mut given_up = files.begin_anew().unwrap();
    given_up.pending().extend_from_slice(b"of an attempt that is given up");
    given_up.sync().unwrap();
    assert!(files.next_incr().is_err());
    let mut log = files.begin_anew().unwrap();
    assert_eq!(disk.list(&files.dir).unwrap().len(), before.len() + 1);
    assert_eq!(load(&open(&disk).unwrap()).unwrap(), life.written, "the old log stands");
    write_base(&mut files, 2).unwrap();
    encode_command(log.pending(), &["ADD", "3"]);
    log.sync().unwrap();
    assert_eq!(load(&open(&disk).unwrap()).unwrap(), 3);
    assert!(open(&disk).unwrap().resume().unwrap().is_some());
    assert_eq!(disk.list(&files.dir).unwrap().len(), 3, "base, incremental file and manifest");
    let mut nothing = open(&FakeDisk::with_dir(Path::new(ROOT))).unwrap();
    assert!(nothing.resume().unwrap().is_none());
    assert!(write_base(&mut nothing, 0).is_err());
}

/// Each step of putting a base in the place of a log fails in turn, then the log is begun anew, and crashes.
#[test]
fn what_a_manifest_names_that_may_be_on_disk_is_not_removed() {
    for at in 0..12 {
        let disk = FakeDisk::with_dir(Path::new(ROOT));
        let mut life = Life::default();
        live(&disk, &mut life).unwrap();
        let mut files = open(&disk).unwrap();
        let mut log = files.begin_anew().unwrap();
        log.sync().unwrap();
        disk.set_fault(Fault::BreakAt(at));
        let published = write_base(&mut files, life.written);
        disk.set_fault(Fault::None);
        assert_eq!(published.is_ok(), at >= 10, "{at}");
        if published.is_ok() {
            continue;
        }
        files.begin_anew().unwrap();
        for survives in outcomes() {
            let found = open(&disk.after_crash(survives)).unwrap();
            assert_eq!(load(&found).unwrap(), life.written, "failed at {at}, {survives:?}");
        }
        // Once one has succeeded, nothing is left of the others.
        write_base(&mut files, life.written).unwrap();
        delete_history(&mut files).unwrap();
        assert_eq!(disk.list(&files.dir).unwrap().len(), 3, "{at}: base, incremental file and manifest");
    }
}

#[test]
fn missing_files_and_bad_manifests_are_named() {
    let disk = FakeDisk::with_dir(Path::new(ROOT));
    live(&disk, &mut Life::default()).unwrap();
    let files = open(&disk).unwrap();
    let base = files.parts().unwrap()[0].path.clone();
    disk.remove(&base).unwrap();
    assert!(matches!(open(&disk).unwrap().parts(), Err(FilesError::Missing(p)) if p == base));
    disk.create(&files.manifest_path()).unwrap().append(b"nonsense\n").unwrap();
    let error = open(&disk).err().unwrap().to_string();
    assert!(error.contains("appendonly.aof.manifest: AOF manifest, line 1"), "{error}");
}
