//! The thread for background jobs (writing and syncing files, freeing memory), and the mailbox that wakes the loop.

use std::sync::Arc;
use std::sync::mpsc::{self, Sender};

use mio::Waker;

use super::Message;
use crate::io::{Job, JobId};

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

pub(super) struct Worker {
    jobs: Sender<(JobId, Job)>,
}

impl Worker {
    pub(super) fn start(post: Post) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<(JobId, Job)>();
        std::thread::Builder::new().name("worker".into()).spawn(move || {
            while let Ok((id, job)) = queue.recv() {
                post.send(Message::JobDone(id, job()));
            }
        })?;
        Ok(Worker { jobs })
    }

    pub(super) fn run(&self, id: JobId, job: Job) {
        // The worker only ends when this sender is dropped.
        let _ = self.jobs.send((id, job));
    }
}
