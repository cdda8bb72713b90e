#[allow(missing_docs)]
pub mod acme {
    #[allow(missing_docs)]
    pub mod notes {
        #[allow(missing_docs)]
        pub mod v1 {
            include!("acme.notes.v1.rs");
        }
    }
}
