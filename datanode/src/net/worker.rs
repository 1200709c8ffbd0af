//! The threads for background jobs (writing and syncing files, freeing memory), and the mailbox that wakes the loop.

use std::sync::Arc;
use std::sync::mpsc::{self, Sender};

use mio::Waker;

use super::Message;
use crate::io::{Job, JobId, Lane};

/// Where other threads leave messages for the loop.
#[derive(Clone)]
pub(super) struct Post {
    outbox: Sender<Message>,
    waker: Arc<Waker>,
}

impl Post {
    pub(super) fn new(outbox: Sender<Message>, waker: Arc<Waker>) -> Self {
        Post { outbox, waker }
    }

    /// The loop may have ended already; then nobody waits for the message.
    pub(super) fn send(&self, message: Message) {
        if self.outbox.send(message).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

pub(super) struct Workers {
    /// In the order of [`Lane::ALL`].
    lanes: Vec<Sender<(JobId, Job)>>,
}

impl Workers {
    pub(super) fn start(post: &Post) -> std::io::Result<Self> {
        let lanes = Lane::ALL.into_iter().map(|lane| start(lane, post.clone()));
        Ok(Workers { lanes: lanes.collect::<std::io::Result<_>>()? })
    }

    pub(super) fn run(&self, lane: Lane, id: JobId, job: Job) {
        // A thread only ends when its sender is dropped.
        let _ = self.lanes[lane as usize].send((id, job));
    }
}

fn start(lane: Lane, post: Post) -> std::io::Result<Sender<(JobId, Job)>> {
    let (jobs, queue) = mpsc::channel::<(JobId, Job)>();
    std::thread::Builder::new().name(lane.name().into()).spawn(move || {
        while let Ok((id, job)) = queue.recv() {
            post.send(Message::JobDone(id, job()));
        }
    })?;
    Ok(jobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_holds_up_only_its_own_lane() {
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let (outbox, inbox) = mpsc::channel();
        let workers = Workers::start(&Post::new(outbox, waker)).unwrap();
        let (begin, free) = mpsc::channel::<()>();
        workers.run(Lane::Free, JobId(1), Box::new(move || Ok(u64::from(free.recv().is_ok()))));
        workers.run(Lane::Free, JobId(2), Box::new(|| Ok(0)));
        workers.run(Lane::Sync, JobId(3), Box::new(|| Ok(0)));
        let next = || match inbox.recv() {
            Ok(Message::JobDone(id, Ok(_))) => id,
            _ => panic!("a job has failed"),
        };
        assert_eq!(next(), JobId(3));
        begin.send(()).unwrap();
        assert_eq!([next(), next()], [JobId(1), JobId(2)]);
    }
}
