//! The operator for RedisReplicaSet.
//!
//! `operator` runs it, `operator crd` prints the CustomResourceDefinition, `operator version` its version.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use operator::render::Settings;
use operator::{controller, crd, lease, telemetry};

/// Port of metrics and probes.
const HTTP_PORT: u16 = 8080;
const USAGE: &str = "usage: operator [--leader-elect] [--namespace NAMESPACE[,NAMESPACE]] [--http-port PORT]
       operator crd        print the CustomResourceDefinition
       operator version    print the version

environment:
  DATANODE_IMAGE               image of datanodes and sentinels (needed)
  DATANODE_IMAGE_PULL_POLICY   IfNotPresent where not set
  WATCH_NAMESPACE              as --namespace: look only there, not everywhere
  POD_NAMESPACE, POD_NAME      where the Lease is, and who holds it
  LOG_FORMAT                   json or text
  RUST_LOG                     what is logged, such as info or operator=debug
";

/// How the operator is to run.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    leader_elect: bool,
    /// None at all: every namespace.
    namespaces: Vec<String>,
    http_port: u16,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["crd"] => print!("{}", crd::definition::yaml()),
        ["version" | "--version"] => println!("{}", env!("CARGO_PKG_VERSION")),
        ["help" | "--help" | "-h"] => print!("{USAGE}"),
        _ => match options(&arguments, variable("WATCH_NAMESPACE")) {
            Ok(options) => return start(options),
            Err(wrong) => {
                eprint!("{wrong}\n\n{USAGE}");
                return ExitCode::from(2);
            }
        },
    }
    ExitCode::SUCCESS
}

fn options(arguments: &[String], namespaces: Option<String>) -> Result<Options, String> {
    let mut options = Options {
        leader_elect: false,
        namespaces: list(&namespaces.unwrap_or_default()),
        http_port: HTTP_PORT,
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let (name, mut value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        let mut value =
            || value.take().or_else(|| rest.next().cloned()).ok_or_else(|| format!("{name} needs a value"));
        match name {
            "--leader-elect" => options.leader_elect = true,
            "--namespace" => options.namespaces = list(&value()?),
            "--http-port" => {
                options.http_port = value()?.parse().map_err(|_| format!("{name} needs a port"))?
            }
            _ => return Err(format!("unknown argument {argument}")),
        }
    }
    Ok(options)
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[tokio::main(worker_threads = 2)]
async fn start(options: Options) -> ExitCode {
    telemetry::log(variable("LOG_FORMAT").as_deref());
    let Some(image) = variable("DATANODE_IMAGE") else {
        error!("DATANODE_IMAGE is not set: which image are the pods to run?");
        return ExitCode::from(2);
    };
    let settings = Settings {
        image,
        pull_policy: variable("DATANODE_IMAGE_PULL_POLICY").unwrap_or("IfNotPresent".into()),
    };
    let client = match kube::Client::try_default().await {
        Ok(client) => client,
        Err(error) => {
            error!(%error, "no way to the API server");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = telemetry::serve(options.http_port).await {
        error!(%error, port = options.http_port, "the port for metrics and probes cannot be had");
        return ExitCode::FAILURE;
    }
    info!(version = env!("CARGO_PKG_VERSION"), ?options, ?settings, "starting");
    let me = variable("POD_NAME").unwrap_or_else(|| format!("operator-{}", std::process::id()));
    let at = variable("POD_NAMESPACE").unwrap_or_else(|| client.default_namespace().to_owned());
    let lead = async {
        if !options.leader_elect {
            return std::future::pending().await;
        }
        lease::keep(&client, &at, &me).await;
    };
    let work = async {
        telemetry::set(telemetry::Metric::Leading, &[], 1.0);
        let places = match options.namespaces.is_empty() {
            true => vec![None],
            false => options.namespaces.iter().cloned().map(Some).collect(),
        };
        let one = |place| controller::run(client.clone(), place, settings.clone(), me.clone());
        futures::future::join_all(places.into_iter().map(one)).await;
    };
    let stop = async {
        let (mut term, mut interrupt) =
            match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
                (Ok(term), Ok(interrupt)) => (term, interrupt),
                _ => return,
            };
        tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} }
    };
    tokio::pin!(stop);
    if options.leader_elect {
        // One who waits to lead is as ready as it can be: it takes over when it must.
        telemetry::ready();
        tokio::select! {
            () = lease::acquire(&client, &at, &me) => {}
            () = &mut stop => return ExitCode::SUCCESS,
        }
    }
    tokio::select! {
        () = work => ExitCode::FAILURE,
        () = lead => {
            error!("no longer leading");
            ExitCode::FAILURE
        }
        () = &mut stop => {
            info!("stopping; the instances go on");
            if options.leader_elect {
                // The work was dropped above: nothing is decided any more.
                lease::release(&client, &at, &me).await;
            }
            ExitCode::SUCCESS
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let parse = |words: &[&str]| options(&words.iter().map(|w| w.to_string()).collect::<Vec<_>>(), None);
        assert_eq!(parse(&[]), Ok(Options { leader_elect: false, namespaces: vec![], http_port: 8080 }));
        assert_eq!(
            parse(&["--leader-elect", "--namespace", "a,b", "--http-port=9"]),
            Ok(Options { leader_elect: true, namespaces: vec!["a".into(), "b".into()], http_port: 9 })
        );
        for wrong in [&["--namespace"][..], &["--http-port", "x"], &["run"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
