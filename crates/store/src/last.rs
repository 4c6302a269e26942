//! The last commit's number, for those who wait until it is greater.
//!
//! Not for finding it out. It keeps true that it never goes back.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{Answer, StoreError};

/// The last commit's number as far as it is known here.
#[derive(Debug, Clone)]
pub(crate) struct Last(Arc<watch::Sender<u64>>);

impl Last {
    /// It is this one.
    pub(crate) fn new(seq: u64) -> Self {
        Self(Arc::new(watch::Sender::new(seq)))
    }

    /// This one was committed or seen.
    pub(crate) fn tell(&self, seq: u64) {
        self.0.send_if_modified(|last| {
            let is_later = seq > *last;
            *last = seq.max(*last);
            is_later
        });
    }

    /// As it is now.
    pub(crate) fn now(&self) -> u64 {
        *self.0.borrow()
    }

    /// Waits until it is greater than this one, and says which it is.
    pub(crate) fn changed(&self, after: u64) -> Answer<'_, u64> {
        let mut last = self.0.subscribe();
        Box::pin(async move {
            let seen = last.wait_for(|last| *last > after).await;
            seen.map(|last| *last).map_err(|_| StoreError::Gone)
        })
    }
}
