//! What a snapshot asks of the disk.

use std::path::Path;
use std::sync::Arc;

use super::SYNC_EVERY;
use crate::config::Config;
use crate::disk_fake::{Call, FakeDisk};
use crate::server::testing::Bench;

/// Bytes of a value, and how many there are: three and a half times what is synced at once, since the walk hands on somewhat
/// more than that each time.
const VALUE: u64 = 8 << 10;
const VALUES: u64 = 7 * SYNC_EVERY / 2 / VALUE;

/// How often the disk is asked to sync a file until the snapshot is published.
fn syncs(piecemeal: bool) -> usize {
    let dir = Path::new("/data");
    let disk = FakeDisk::with_dir(dir);
    let config = Config {
        dir: dir.into(),
        rdb_save_incremental_fsync: piecemeal,
        rdbcompression: false,
        ..Config::default()
    };
    let mut b = Bench::on(config, Arc::new(disk.clone()));
    b.server.start(&mut b.io).unwrap();
    let c = b.connect();
    for i in 0..VALUES {
        assert_eq!(b.send(c, &format!("SETRANGE {i} {} x", VALUE - 1)), format!(":{VALUE}\r\n"));
    }
    disk.keep_moments();
    b.send(c, "BGSAVE");
    let (mut syncs, mut published) = (0, false);
    while !published {
        b.pass(1);
        b.settle();
        for moment in disk.take_moments() {
            syncs += usize::from(moment.call == Call::Sync);
            published |= moment.call == Call::Rename;
        }
    }
    syncs
}

#[test]
fn a_file_is_synced_on_the_way_so_that_its_end_holds_up_nobody() {
    assert_eq!(syncs(false), 1, "at its end");
    assert_eq!(syncs(true), 1 + 3);
}
