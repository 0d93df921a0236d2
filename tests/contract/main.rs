//! The contracts that every log and every store keeps, held against each implementation.

mod store_contract;

mod sqlite {
    use rejoinder::store::{Config, Store};
    use tempfile::TempDir;

    /// A new store, and what has to be kept for it to stay.
    async fn fresh() -> (Store, TempDir) {
        let directory = TempDir::new().expect("a temporary directory");
        let store = Store::open(&Config::in_dir(directory.path())).await.expect("a store");
        (store, directory)
    }

    crate::store_contract_tests!(fresh);

    #[tokio::test]
    async fn a_closed_store_opens_again_with_everything_in_it() {
        let (store, directory) = fresh().await;
        crate::store_contract::a_reply_reads_back_as_it_was(store.clone()).await;
        store.close().await;
        let again = Store::open(&Config::in_dir(directory.path())).await.expect("a store");
        assert_eq!(again.position(0).await.unwrap().expect("a position").position, 2);
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_a_file_is_refused_in_words() {
        let directory = TempDir::new().expect("a temporary directory");
        let error = Store::open(&Config::Sqlite(directory.path().to_owned())).await.unwrap_err();
        assert!(error.to_string().contains("cannot be opened"), "{error}");
    }

    /// `cargo test --release --test contract -- --ignored --nocapture measure`
    #[tokio::test]
    #[ignore = "a measurement, of a release build"]
    async fn measure_what_a_reply_costs() {
        let (store, _directory) = fresh().await;
        crate::store_contract::measure(store).await;
    }
}
