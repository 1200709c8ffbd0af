//! Volumes of other deployments: nothing that they hold may be overwritten.

use std::path::Path;

use datanode::disk::Disk;
use datanode::disk_fake::{FakeDisk, Survives};
use datanode::io::ConnId;
use datanode::server::{Origins, Server};
use datanode::sim::Sim;
use std::sync::Arc;

use super::{CALM, DIR, World};
use crate::actor::{Actor, Core};

/// The dataset of the other deployment.
const FOREIGN: &str = "f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0";
/// Time in which the other deployment puts its mark on its volume, microseconds.
const FOUNDING_US: u64 = 3_000_000;
/// When a member is started on another volume, milliseconds.
const CHANGED_MS: u64 = 50;

impl World {
    /// Has a member find the volume of another deployment, if it may be missed meanwhile.
    pub(super) fn give_foreign_volume(&mut self, member: usize) {
        if self.own_volume.is_some() || self.restarts.contains_key(&member) || !self.may_damage(member) {
            return;
        }
        let Some(foreign) = self.foreign_volume(member) else { return };
        self.damaged.insert(member);
        self.sim.crash(member);
        self.own_volume = Some((member, self.disks[member].after_crash(Survives::Everything)));
        self.disks[member] = foreign;
        self.buried(member, Survives::Everything, CHANGED_MS);
    }

    /// Gives it its own back. Of the other one nothing may have been overwritten.
    pub(super) fn give_own_volume(&mut self) {
        let Some((member, own)) = self.own_volume.take() else { return };
        let dataset = self.server(member).map(|s| s.persist.lineage().dataset.clone());
        if let Some(dataset) = dataset.filter(|d| d.as_deref() != Some(FOREIGN)) {
            self.claims
                .borrow_mut()
                .violated(|| format!("a volume of another dataset was overwritten with {dataset:?}"));
        }
        self.sim.crash(member);
        self.disks[member] = own;
        self.buried(member, Survives::Everything, CHANGED_MS);
    }

    /// The volume of a deployment that has one member, with the same name.
    fn foreign_volume(&mut self, member: usize) -> Option<FakeDisk> {
        let mut map = self.api.borrow().map()?;
        map.sentinels.clear();
        let shard = map.shards.first_mut()?;
        (shard.epoch, shard.founded_at, shard.dataset) = (1, 1, Some(FOREIGN.into()));
        shard.master = Some(self.names[member].parse().expect("names make addresses"));
        let disk = FakeDisk::with_dir(Path::new(DIR));
        let mut sim = Sim::new(self.rng.next_u64(), CALM);
        let node = sim.place(&self.names[member]);
        let seed = self.rng.next_u64();
        let server =
            Server::new(self.config(member), Arc::new(disk.clone()), seed, sim.now(), Origins::default());
        sim.start(node, Actor { name: "foreign".into(), core: Core::Data(Box::new(server.ok()?)) });
        sim.call(node, |a, io| {
            let Core::Data(server) = &mut a.core else { return };
            let _founded = server.start(io).is_ok()
                && server.promise(io, ConnId(0), 0, 1).is_ok()
                && server.offer_map(io, ConnId(0), map.to_json().as_bytes()).is_ok();
        });
        sim.run(FOUNDING_US);
        let disk = disk.after_crash(Survives::Everything);
        // Where its map came along, too, the two deployments would have to have different names.
        disk.remove(&self.config(member).dir.join(datanode::managed::STATE_FILE)).ok()?;
        Some(disk)
    }
}
