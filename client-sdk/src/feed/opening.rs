//! How many streams are being opened at a time, at each place: one cell that hangs keeps nobody from the others.

use crate::wire::Destination;
use hashbrown::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The limits of a feed, by where its streams go.
#[derive(Debug)]
pub(crate) struct Openings {
    most: usize,
    places: Mutex<HashMap<Destination, Arc<Semaphore>>>,
}

impl Openings {
    /// At most so many at each place, and one at least.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), places: Mutex::default() }
    }

    /// Waits until one more may be opened there. It counts until the permit is dropped.
    pub async fn begin(&self, at: Destination) -> Option<OwnedSemaphorePermit> {
        let place = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(places.entry(at).or_insert_with(|| Arc::new(Semaphore::new(self.most))))
        };
        // None of them is ever closed.
        place.acquire_owned().await.ok()
    }
}
