//! One call is one trace, on both sides, as a collector receives it.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::{Arc, Mutex},
    time::Duration,
};

use aigis_tests::{Mesh, until};
use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::{Span, span::SpanKind},
};
use tonic::{Request, Response, Status};

/// What a collector has received.
#[derive(Debug, Clone, Default)]
struct Received(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let spans = resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
        self.0.lock().unwrap().extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Receives spans by OTLP over gRPC until the test's process ends; gives its URL.
fn collector() -> (String, Received) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    let received = Received::default();
    let service = TowerToHyperService::new(TraceServiceServer::new(received.clone()));
    let serve = async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let connection = http2::Builder::new(TokioExecutor::new());
            let connection = connection.serve_connection(TokioIo::new(stream), service.clone());
            #[expect(clippy::disallowed_methods, reason = "it ends with the test's process")]
            tokio::spawn(async move { drop(connection.await) });
        }
    };
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(serve)
    });
    (url, received)
}

#[test]
fn one_call_is_one_trace_on_both_sides() {
    let (url, received) = collector();
    let soon = ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned());
    let mesh = Mesh::up_in(vec![("OTEL_EXPORTER_OTLP_ENDPOINT", url), soon]);
    let _status = mesh.aish(["alpha", "status"]).good();
    let (client, server) = until("both spans of a call arrive", Duration::from_secs(30), || {
        let spans = received.0.lock().unwrap();
        let of = |kind: SpanKind| spans.iter().filter(move |span| span.kind() == kind && is_about(span, "alpha"));
        of(SpanKind::Server).find_map(|server| {
            let client = of(SpanKind::Client).find(|client| client.span_id == server.parent_span_id)?;
            Some((client.clone(), server.clone()))
        })
    });
    assert_eq!(client.trace_id, server.trace_id);
    assert_eq!((client.trace_id.len(), server.parent_span_id.len()), (16, 8));
}

/// Whether the span is of a call to that CI.
fn is_about(span: &Span, ci: &str) -> bool {
    span.attributes.iter().any(|attribute| {
        let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
        attribute.key == "ci" && format!("{value:?}").contains(ci)
    })
}

#[test]
fn one_trace_goes_from_a_command_through_two_nodes_into_the_last_callee() {
    let (url, received) = collector();
    let soon = ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned());
    let mesh = Mesh::up_in(vec![("OTEL_EXPORTER_OTLP_ENDPOINT", url.clone()), soon]);
    let beta = mesh.joined("beta");
    // A program on beta that asks the node alpha for each message, as a part of the same trace.
    let relay = beta.path().join("relay.py");
    let program = r#"
import json, os, subprocess, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "message" not in asked:
        continue
    environment = dict(os.environ, TRACEPARENT=asked.get("traceparent", ""))
    command = [os.environ["AISH"], "call", "alpha.status", "--json"]
    answer = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    print(json.dumps({"id": asked["id"], "reply": str(answer.returncode) + answer.stderr}), flush=True)
"#;
    std::fs::write(&relay, program).unwrap();
    let aish = format!("AISH={}", mesh.binary().display());
    let wrap = ["-n", "relay", "--jsonl", "--env", &aish, "--", "python3", relay.to_str().unwrap()];
    let _relay = beta.wrap(wrap);
    let answer = mesh.aish(["relay@beta", "go", "--yes"]).good();
    assert_eq!(answer.stdout.trim(), "0", "{answer:?}");
    let (first, on_beta, on_alpha) = until("all spans of the chain arrive", Duration::from_secs(30), || {
        let spans = received.0.lock().unwrap();
        let of = |kind: SpanKind, ci| spans.iter().filter(move |span| span.kind() == kind && is_about(span, ci));
        let up = |span: &Span| spans.iter().find(|above| above.span_id == span.parent_span_id).cloned();
        // From the last callee up to the command that began it.
        of(SpanKind::Server, "alpha").find_map(|last| {
            let mut chain = vec![last.clone()];
            while let Some(above) = up(&chain[chain.len() - 1]) {
                chain.push(above);
            }
            let on_beta = chain.iter().find(|span| span.kind() == SpanKind::Server && is_about(span, "relay"))?;
            // Each process sends its spans when it comes to it: what is above may come later.
            let first = chain.last().filter(|first| first.parent_span_id.is_empty())?;
            Some((first.clone(), on_beta.clone(), last.clone()))
        })
    });
    assert_eq!((&first.trace_id, &on_beta.trace_id), (&on_alpha.trace_id, &on_alpha.trace_id));
    assert_eq!(first.name, "aish", "{first:?}");
}
