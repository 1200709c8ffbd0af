//! The log on a disk that fails.

use std::path::Path;

use super::*;
use crate::config::Config;
use crate::disk;
use crate::disk_fake::{FakeDisk, Fault};
use crate::io::Service;
use crate::server::testing::Bench;

fn begin(disk: &FakeDisk) -> Log {
    let files = AofFiles::open(Arc::new(disk.clone()), Path::new("/data"), "aof", "log").unwrap();
    Log::begin(files, 0).unwrap()
}

fn publish(disk: &FakeDisk, log: &mut Log) -> Result<(), String> {
    let file = disk.create(&log.temp_base()).unwrap();
    log.publish_base(&*file, 0, BaseFormat::Rdb)
}

fn feed(log: &mut Log) -> u64 {
    log.end.pending().extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
    log.fed.mark += 1;
    log.mark()
}

#[test]
fn only_what_is_synced_behind_a_base_counts_as_durable() {
    let disk = FakeDisk::with_dir(Path::new("/data"));
    let mut log = begin(&disk);
    let first = feed(&mut log);
    log.sync().unwrap();
    assert!(!log.is_durable(), "what came before the log is on no disk as long as its base is not");
    assert_eq!((log.durable_mark(), log.durable_offset()), (None, None));
    publish(&disk, &mut log).unwrap();
    assert!(log.is_durable() && log.durable_mark() >= Some(first));
    let second = feed(&mut log);
    assert!(!log.is_durable() && log.durable_mark() < Some(second));
    log.flush().unwrap();
    assert!(!log.is_durable(), "it is written, but not synced");
    log.sync().unwrap();
    assert!(log.is_durable() && log.durable_mark() == Some(second));
}

#[test]
fn after_a_failed_sync_a_rewrite_may_fail_and_be_tried_again() {
    let disk = FakeDisk::with_dir(Path::new("/data"));
    let mut log = begin(&disk);
    publish(&disk, &mut log).unwrap();
    let mark = feed(&mut log);
    log.flush().unwrap();
    disk.set_fault(Fault::FailAt(0));
    log.sync().unwrap_err();
    disk.set_fault(Fault::None);
    assert!(!log.is_durable() && log.durable_mark() < Some(mark));
    assert!(log.must_begin_anew());
    log.begin_anew(0).unwrap();
    disk.set_fault(Fault::FailAt(1));
    publish(&disk, &mut log).unwrap_err();
    disk.set_fault(Fault::None);
    assert_eq!(log.durable_mark(), None, "what is on disk lacks what could not be synced");
    assert!(log.must_begin_anew());
    log.begin_anew(0).unwrap();
    publish(&disk, &mut log).unwrap();
    assert!(log.is_durable() && log.durable_mark() == Some(mark));
}

#[test]
fn a_sync_that_failed_elsewhere_is_not_made_good_by_the_next_one() {
    let disk = FakeDisk::with_dir(Path::new("/data"));
    let mut log = begin(&disk);
    publish(&disk, &mut log).unwrap();
    feed(&mut log);
    log.end.flush().unwrap();
    let background = log.end.file();
    disk.set_fault(Fault::BreakAt(0));
    background.sync().unwrap_err();
    disk.set_fault(Fault::None);
    assert!(log.error().is_some() && log.needs_base());
    let written = log.end.written();
    feed(&mut log);
    log.sync().unwrap_err();
    assert_eq!(log.end.written(), written, "behind a hole nothing could be read");
}

/// A log that goes on in another file; what it had been fed up to there.
fn gone_on(disk: &FakeDisk) -> (Log, Fed) {
    let mut log = begin(disk);
    publish(disk, &mut log).unwrap();
    feed(&mut log);
    log.files().prepare().unwrap();
    log.begin_rewrite(false).unwrap();
    let fed = log.fed;
    (log, fed)
}

#[test]
fn behind_a_file_that_is_not_durable_nothing_is() {
    let disk = FakeDisk::with_dir(Path::new("/data"));
    let (mut log, fed) = gone_on(&disk);
    assert!(!log.is_durable() && log.durable_mark() < Some(fed.mark));
    log.note_old_synced(fed, Ok(0));
    assert!(log.is_durable() && log.durable_mark() == Some(fed.mark));
}

#[test]
fn begun_anew_it_counts_from_its_base_on() {
    let disk = FakeDisk::with_dir(Path::new("/data"));
    let (mut log, fed) = gone_on(&disk);
    let given_up = disk.create(&log.temp_base()).unwrap();
    log.begin_anew(7).unwrap();
    let may_not = || Err(io::ErrorKind::Other.into());
    log.files().publish_base(&*given_up, BaseFormat::Rdb, may_not).unwrap_err();
    assert_eq!((log.durable_offset(), log.durable_mark()), (None, None));
    publish(&disk, &mut log).unwrap();
    assert_eq!((log.durable_offset(), log.durable_mark()), (Some(7), Some(fed.mark)));
    assert!(log.is_durable());
}

#[test]
fn a_sync_of_a_file_before_says_nothing_about_the_present_one() {
    let disk = FakeDisk::with_dir(Path::new("/data"));
    let mut log = begin(&disk);
    publish(&disk, &mut log).unwrap();
    log.begin_anew(0).unwrap();
    publish(&disk, &mut log).unwrap();
    let mark = feed(&mut log);
    log.flush().unwrap();
    log.syncing = Some(Syncing { serial: 2, len: log.end.written(), fed: log.fed });
    log.synced(1, Ok(0));
    assert!(!log.is_durable() && log.durable_mark() < Some(mark));
    log.synced(2, Ok(0));
    assert!(log.is_durable() && log.durable_mark() == Some(mark));
}

#[test]
fn writes_wait_for_a_sync_under_way_but_not_for_ever() {
    let dir = Path::new("/data");
    let disk = FakeDisk::with_dir(dir);
    let config = Config { appendonly: true, dir: dir.into(), ..Config::default() };
    assert_eq!(config.appendfsync, Fsync::Everysec);
    let mut b = Bench::on(config, Arc::new(disk.clone()));
    b.server.start(&mut b.io).unwrap();
    b.settle();
    let c = b.connect();
    let written = || {
        let log = disk::read(&disk, &dir.join("appendonlydir/appendonly.aof.1.incr.aof")).unwrap();
        String::from_utf8(log).unwrap().matches("SET").count()
    };
    b.send(c, "SET a 1");
    assert_eq!(written(), 1);
    b.pass(SYNC_PERIOD_MS);
    assert!(b.server.persist.log.as_ref().unwrap().is_syncing());
    b.send(c, "SET a 2");
    assert_eq!((written(), b.server.persist_info().aof_buffer_length > 0), (1, true));
    let mark = b.server.persist.log_mark();
    b.settle();
    b.server.before_sleep(&mut b.io);
    assert_eq!(written(), 2);
    assert!(!b.server.persist.is_durable(mark), "the sync that has ended did not know of it");
    b.pass(SYNC_PERIOD_MS);
    b.send(c, "SET a 3");
    b.pass(LONGEST_POSTPONEMENT_MS - 1);
    assert_eq!((written(), b.server.persist_info().aof_delayed_fsync), (2, 0));
    b.pass(1);
    assert_eq!((written(), b.server.persist_info().aof_delayed_fsync), (3, 1));
    b.send(c, "SET a 4");
    let mark = b.server.persist.log_mark();
    b.server.persist.log.as_mut().unwrap().sync().unwrap();
    assert!(written() == 4 && b.server.persist.is_durable(mark));
}

#[test]
fn a_base_stands_for_the_file_before_it() {
    let disk = FakeDisk::with_dir(Path::new("/data"));
    let (mut log, fed) = gone_on(&disk);
    disk.set_fault(Fault::BreakAt(0));
    let outcome = log.old.as_ref().unwrap().file().sync();
    disk.set_fault(Fault::None);
    log.note_old_synced(fed, outcome.map(|()| 0));
    assert!(log.must_begin_anew() && !log.is_durable() && log.durable_mark() < Some(fed.mark));
    publish(&disk, &mut log).unwrap();
    assert!(log.error().is_none() && log.is_durable() && log.durable_mark() == Some(fed.mark));
}
