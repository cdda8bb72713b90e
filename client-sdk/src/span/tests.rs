use crate::{
    Settings, Source,
    probe::{Client, Look, Probe, ms},
};
use futures_util::future::join_all;
use std::{
    collections::BTreeMap,
    fmt,
    future::IntoFuture as _,
    sync::{Arc, Mutex},
};
use tracing::{
    Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt as _, registry::LookupSpan};

type Fields = BTreeMap<&'static str, String>;

/// Keeps the fields of all spans of the mesh's target, in the order in which they began.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<(Id, Fields)>>>);

struct Into<'a>(&'a mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        if attributes.metadata().target() == mesh_layers::trace::TARGET {
            let mut fields = Fields::new();
            attributes.record(&mut Into(&mut fields));
            self.0.lock().expect("no panic").push((id.clone(), fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut spans = self.0.lock().expect("no panic");
        if let Some((_, fields)) = spans.iter_mut().rev().find(|(other, _)| other == id) {
            values.record(&mut Into(fields));
        }
    }
}

async fn coalesced(spans: &Spans, every: u32, user: &'static str) -> Vec<Fields> {
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
    let probe = Probe::slow(ms(5));
    let look = Client::<Look>::new(&probe.mesh_with(Settings { span_every: every, ..Settings::default() }));
    let answers = join_all((0..101).map(|_| look.get(user).into_future())).await;
    let joined = answers
        .iter()
        .filter(|answer| answer.as_ref().map_or(true, |reply| matches!(reply.source, Source::Coalesced { .. })));
    assert!(joined.count() >= 100);
    spans.0.lock().expect("no panic").iter().map(|(_, fields)| fields.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn one_in_so_many_calls_that_stay_inside_has_a_span() {
    let spans = coalesced(&Spans::default(), 10, "ann").await;
    assert_eq!(spans.len(), 10);
    let expected = [
        ("cellmesh.source", "coalesced"),
        ("otel.kind", "client"),
        ("otel.name", "test.Users/Look"),
        ("rpc.grpc.status_code", "0"),
        ("rpc.method", "Look"),
        ("rpc.service", "test.Users"),
        ("rpc.system", "grpc"),
    ];
    assert_eq!(spans[0].iter().map(|(name, value)| (*name, &**value)).collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_told_and_none_means_none() {
    let spans = coalesced(&Spans::default(), 100, "none").await;
    assert_eq!(spans.len(), 1);
    assert_eq!((&*spans[0]["rpc.grpc.status_code"], &*spans[0]["otel.status_code"]), ("5", "ERROR"));
    assert!(coalesced(&Spans::default(), 0, "ann").await.is_empty());
}
