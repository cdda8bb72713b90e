//! Keeps what is sold here, and what makes it cheaper, in step with the cell's catalogue and campaigns.

mod campaigns;
mod products;

pub(crate) use campaigns::Campaigns;
pub(crate) use products::Products;
