//! Local answers over scripted feeds, in paused time.

mod bounds;
mod lease;
mod moves;
mod names;
mod random;
mod registration;
mod shadow;
mod world;
