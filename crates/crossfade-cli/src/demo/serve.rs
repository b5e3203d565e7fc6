//! The story through a control plane: an embedded one, to be watched in a browser while the story goes on.
//!
//! Nothing else changes: the same plot asks for the same steps. The plane takes them by its own law, with its own
//! evidence, and whoever watches may pause it.

use super::Args;
use super::story::Work;
use crate::control::client::{Client, Refused, path};
use crate::data::plane::{Run, Voice};
use crate::say::Failure;
use anyhow::{Context as _, anyhow};
use crossfade::core::{Plan, Position, Verdict};
use crossfade::plan::{self, Control, Membership};
use crossfade::{Migration, Options};
use crossfade_api::exit::Exit;
use crossfade_api::problem::Code;
use crossfade_api::wire::{
    CreateRequest, InstanceKind, IssuedToken, OptionsRequest, Outcome, RampRequest, Role, RollbackRequest, Status,
    StepAnswer, TokenRequest,
};
use crossfade_server::serve::{Options as ServerOptions, ServeError, Server};
use crossfade_transfer::pace;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ID: &str = "events";
/// How often the story looks whether its step has ended.
const LOOK: Duration = Duration::from_millis(30);
/// The plane hears of cleared marks with the next heartbeat; whoever waits for it is not refused for them.
const PATIENCE: Duration = Duration::from_secs(20);

/// An embedded control plane.
pub(super) struct Plane {
    server: Server,
    client: Client,
    /// Where it is.
    pub(super) url: String,
    /// A link that logs its first visitor in.
    pub(super) link: String,
}

impl Plane {
    /// Serves in a folder, on a port of this machine.
    pub(super) async fn start(folder: &Path, port: u16) -> Result<Plane, Failure> {
        let mut options = ServerOptions::new(folder.join("plane.db"));
        options.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        options.heartbeat = Duration::from_millis(300);
        let server = Server::start(options).await.map_err(|error| match error {
            ServeError::Bind { .. } => Failure::usage(anyhow!(
                "port {port} of this machine is busy: choose another with --serve=PORT, or leave it out for a free one"
            )),
            error => Failure::from(anyhow!(error).context("the embedded control plane does not start")),
        })?;
        let url = format!("http://{}", server.address);
        let first = server.first_token.clone().unwrap_or_default();
        let client = Client::with_token(&url, &first)?;
        let operator = TokenRequest { name: "you".to_owned(), role: Role::Operator };
        let operator: IssuedToken = client.post("/v1/tokens", &operator).await.map_err(failed)?;
        let link = server.invitation(&operator.token).context("no randomness for a link")?;
        Ok(Plane { server, client, url, link })
    }

    /// The migration as an instance of this plane.
    async fn migration(&self, first: &Plan) -> Result<(Migration, Membership), Failure> {
        let request = CreateRequest { plan: first.spec(), bypassing_writers: Vec::new() };
        self.client.post::<Status>("/v1/migrations", &request).await.map_err(failed)?;
        let instance = TokenRequest { name: "service".to_owned(), role: Role::Instance };
        let instance: IssuedToken = self.client.post("/v1/tokens", &instance).await.map_err(failed)?;
        let source = plan::server(&self.url).token(instance.token).host("demo");
        let membership = source.membership();
        let migration = Migration::builder(ID).plan(source).build().await.map_err(anyhow::Error::from)?;
        Ok((migration, membership))
    }

    async fn status(&self) -> Result<Status, Failure> {
        self.client.status(ID).await.map_err(failed)
    }

    /// Asks for a step until it was taken. A pause is waited out, and so is a mark that the plane still knows of.
    async fn step(&self, wish: impl Fn(&Status) -> Result<Wish, Failure>) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            let status = self.status().await?;
            let asked = match wish(&status)? {
                Wish::Ramp(request) => self.client.post::<StepAnswer>(&path(ID, "/ramp"), &request).await.map(drop),
                Wish::Back(request) => self.client.post::<StepAnswer>(&path(ID, "/rollback"), &request).await.map(drop),
                Wish::Options(request) => {
                    self.client.post::<StepAnswer>(&path(ID, "/options"), &request).await.map(drop)
                }
                Wish::Nothing => return Ok(()),
            };
            match asked {
                Ok(()) => {
                    let ended = self.ended().await?;
                    match ended.last_step.and_then(|last| last.abandoned) {
                        // A hold that did not pass in its time is tried again.
                        Some(_) if began.elapsed() < PATIENCE => {}
                        Some(why) => return Err(anyhow!("the step was given up: {why}").into()),
                        None => return Ok(()),
                    }
                }
                Err(Refused::Problem(problem)) => match problem.code {
                    // Somebody at the dashboard has another idea for now.
                    Code::Paused | Code::StepUnderWay | Code::RevisionChanged => {}
                    Code::Gate | Code::NotReady if began.elapsed() < PATIENCE => {}
                    code => {
                        let said = anyhow!("the control plane refuses: {}", problem.detail);
                        return Err(Failure::new(code.exit(), said));
                    }
                },
                Err(refused) => return Err(failed(refused)),
            }
            tokio::time::sleep(LOOK * 3).await;
        }
    }

    /// The status when no step is under way and everybody has acknowledged.
    async fn ended(&self) -> Result<Status, Failure> {
        loop {
            let status = self.status().await?;
            if status.step.is_none() && status.acknowledged == status.instances {
                return Ok(status);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

enum Wish {
    Ramp(RampRequest),
    Back(RollbackRequest),
    Options(OptionsRequest),
    /// It is so already.
    Nothing,
}

fn failed(refused: Refused) -> Failure {
    match refused {
        Refused::Failure(failure) => failure,
        Refused::Problem(problem) => {
            Failure::new(problem.code.exit(), anyhow!("the control plane refuses: {}", problem.detail))
        }
    }
}

/// Who takes the steps of the story.
#[derive(Clone)]
pub(super) enum Conductor {
    /// This process alone.
    Here(Control),
    /// The embedded control plane, with this process as an instance.
    Plane(Arc<Plane>, Membership),
}

impl Conductor {
    /// A migration with a first plan, and who conducts it.
    pub(super) async fn begin(first: Plan, plane: Option<Plane>) -> Result<(Conductor, Migration), Failure> {
        match plane {
            None => {
                let (control, plans) = plan::local(first);
                let migration = Migration::builder(ID).plan(plans).build().await.map_err(anyhow::Error::from)?;
                Ok((Conductor::Here(control), migration))
            }
            Some(plane) => {
                let (migration, membership) = plane.migration(&first).await?;
                Ok((Conductor::Plane(Arc::new(plane), membership), migration))
            }
        }
    }

    /// Takes the migration to a position. The time for which writes were held, where it was measured.
    pub(super) async fn advance(&self, goal: Position) -> Result<Option<Duration>, Failure> {
        let plane = match self {
            Conductor::Here(control) => {
                return Ok(control.advance(goal).await.map_err(anyhow::Error::from)?.held);
            }
            Conductor::Plane(plane, _) => plane,
        };
        let wish = |status: &Status| {
            let here = Plan::new(status.publication.plan.clone()).map_err(anyhow::Error::from)?;
            let here = here.position();
            let (if_revision, confirm) = (status.publication.revision, Some(ID.to_owned()));
            if *here == goal {
                return Ok(Wish::Nothing);
            }
            let edge = here.common_edge(&goal);
            let edge = edge.ok_or_else(|| anyhow!("somebody moved the migration to `{here}`: the story ends here"))?;
            let percent = goal.share_on(edge).unwrap_or_default();
            if percent < here.share_on(edge).unwrap_or_default() {
                return Ok(Wish::Back(RollbackRequest { if_revision, force: false, confirm: None }));
            }
            Ok(Wish::Ramp(RampRequest { stage: edge.later(), percent, pins: None, if_revision, confirm }))
        };
        plane.step(wish).await?;
        Ok(None)
    }

    /// Changes the options.
    pub(super) async fn options(&self, options: Options) -> Result<(), Failure> {
        match self {
            Conductor::Here(control) => control.options(options).await.map(drop).map_err(|e| anyhow!(e).into()),
            Conductor::Plane(plane, _) => {
                let wish = |status: &Status| {
                    if status.publication.plan.options == options {
                        return Ok(Wish::Nothing);
                    }
                    let if_revision = status.publication.revision;
                    Ok(Wish::Options(OptionsRequest { options: options.clone(), if_revision }))
                };
                plane.step(wish).await
            }
        }
    }

    /// A run of the data side begins: the plane has to know of it.
    pub(super) async fn run(&self, kind: InstanceKind, control: &pace::Control, work: &Work) -> Result<Known, Failure> {
        let Conductor::Plane(plane, _) = self else { return Ok(Known(None)) };
        let joined = Run::join(plane.client.clone(), Voice::Silent, ID, kind, Vec::new(), control).await;
        let run =
            joined.map_err(|exit| Failure::new(exit, anyhow!("the control plane lets no {} begin", kind.name())))?;
        let work = work.clone();
        run.follow("every row, beside the traffic", move || (work.done(), work.of));
        Ok(Known(Some(run)))
    }

    /// Takes this process out of the fleet and ends the plane; at a terminal, when whoever watches has seen enough.
    pub(super) async fn farewell(self, watched: Watched) -> Result<(), Failure> {
        let Conductor::Plane(plane, membership) = self else { return Ok(()) };
        membership.leave(Duration::from_secs(10)).await;
        if watched == Watched::AtATerminal {
            println!("\nthe dashboard stays at {} until Ctrl-C", plane.url);
            tokio::signal::ctrl_c().await.map_err(anyhow::Error::from)?;
        }
        if let Ok(plane) = Arc::try_unwrap(plane).map_err(drop) {
            plane.server.stop().await;
        }
        Ok(())
    }
}

/// Whether somebody may still look when the story is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    /// A person is there.
    AtATerminal,
    /// A pipe or a machine.
    ByNobody,
}

/// A run that the plane knows of, if there is one.
pub(super) struct Known(Option<Run>);

impl Known {
    /// It ended.
    pub(super) async fn end(self, outcome: Outcome) -> Result<(), Failure> {
        let Some(run) = self.0 else { return Ok(()) };
        match run.end(outcome, Exit::Done).await {
            Exit::Done => Ok(()),
            exit => Err(Failure::new(exit, anyhow!("the control plane did not hear how the run ended"))),
        }
    }

    /// A verification came to this.
    pub(super) async fn judged(self, verdict: Verdict) -> Result<(), Failure> {
        self.end(Outcome::Verdict(verdict)).await
    }
}

/// The plane that `--serve` asks for, said where it can be read and clicked.
pub(super) async fn asked(args: &Args, json: bool, folder: &Path) -> Result<Option<Plane>, Failure> {
    let Some(port) = args.serve else { return Ok(None) };
    let plane = Plane::start(folder, port).await?;
    if json {
        println!("{}", serde_json::json!({ "event": "serving", "url": plane.url, "login": plane.link }));
    } else {
        println!("watch it at {}\n(the link logs in once)\n", plane.link);
    }
    Ok(Some(plane))
}
