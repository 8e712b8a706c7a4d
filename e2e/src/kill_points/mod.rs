//! SIGKILL at every step: each call of a service that leaves a trace outside its process is counted, and then the same
//! is played again and again with the process dying before, in the middle of and after each of them.
//!
//! The steps are told and taken by a library preloaded into the real binaries (`steps.c`); the product knows nothing of
//! it. What a call does in the kernel is whole or not done; what a process shares by mapped memory (the index of
//! SQLite's log) is seen in the states between two calls.

mod audit;
mod lane;
mod orders;
mod play;
mod point;
mod table;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use tempfile::TempDir;

use lane::{Lane, Plan};
use play::{Played, play};
pub use point::{Moment, Point, Scene, Victim, spread};
pub use table::Table;

/// Who is killed in which scene.
const SCENES: [(Victim, &[Scene]); 4] = [
    (Victim::Ingest, &[Scene::First, Scene::Work, Scene::Stop, Scene::Start]),
    (Victim::Scheduler, &[Scene::First, Scene::Work, Scene::Stop, Scene::Start]),
    (Victim::Runner, &[Scene::First, Scene::Work, Scene::Stop, Scene::Start]),
    (Victim::Shim, &[Scene::Work]),
];
/// How often a scene is listed: the clock has a hand in how often some steps come.
const LISTINGS: usize = 2;

/// The compiled library, and the folder in which orders lie.
#[derive(Debug)]
pub struct Kills {
    library: PathBuf,
    _folder: TempDir,
}

impl Kills {
    /// Compiles the library.
    ///
    /// # Errors
    /// There is no C compiler, or it complains.
    pub fn prepare() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("orch-kills-").tempdir()?;
        Ok(Self { library: orders::compile(folder.path())?, _folder: folder })
    }

    /// Every point there is: of each step as many as came whenever its scene was listed.
    ///
    /// # Errors
    /// A scene went wrong though nobody was killed.
    pub async fn points(&self, lanes: usize) -> anyhow::Result<Vec<Point>> {
        let scenes: Vec<_> = SCENES
            .into_iter()
            .flat_map(|(victim, scenes)| scenes.iter().map(move |scene| (victim, *scene)))
            .collect();
        let queue = Queue::of(scenes.iter().copied());
        let listing = async |mut lane: Spare| {
            let mut listed = Vec::new();
            while let Some((number, (victim, scene))) = queue.next() {
                listed.push((number, self.list(&mut lane, victim, scene).await?));
            }
            lane.finish().await?;
            anyhow::Ok(listed)
        };
        let listed = futures::future::join_all((0..lanes).map(|_| listing(Spare::default()))).await;
        let mut points: Vec<(usize, Vec<Point>)> =
            listed.into_iter().collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect();
        points.sort_by_key(|(number, _)| *number);
        Ok(points.into_iter().flat_map(|(_, points)| points).collect())
    }

    async fn list(&self, lane: &mut Spare, victim: Victim, scene: Scene) -> anyhow::Result<Vec<Point>> {
        let mut least: Vec<(String, usize)> = Vec::new();
        for number in 0..LISTINGS {
            let listed = self.play(lane, scene, Plan::List(victim)).await?.listed;
            if number == 0 {
                least = listed;
                continue;
            }
            for (step, count) in &mut least {
                let again = listed.iter().find(|(other, _)| other == step).map_or(0, |(_, count)| *count);
                *count = again.min(*count);
            }
        }
        let points = least.into_iter().flat_map(|(step, count)| {
            let moments = Moment::of(&step);
            (1..=count).flat_map(move |nth| {
                let step = step.clone();
                moments.iter().map(move |moment| Point {
                    victim,
                    scene,
                    step: step.clone(),
                    nth,
                    moment: *moment,
                })
            })
        });
        Ok(points.collect())
    }

    /// Kills at every point, on so many stacks side by side.
    ///
    /// # Errors
    /// A stack cannot be started at all. What goes wrong at a point is in the table.
    pub async fn run(&self, points: Vec<Point>, lanes: usize) -> anyhow::Result<Table> {
        let queue = Queue::of(points);
        let table = Mutex::new(Table::default());
        let killing = async |mut lane: Spare| {
            while let Some((_, point)) = queue.next() {
                let played = self.play(&mut lane, point.scene, Plan::Kill(&point)).await;
                table.lock().unwrap_or_else(PoisonError::into_inner).note(point, played);
            }
            lane.finish().await
        };
        let ended = futures::future::join_all((0..lanes).map(|_| killing(Spare::default()))).await;
        for end in ended {
            end.context("a stack that had come to rest did not stop cleanly")?;
        }
        Ok(table.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Plays on the lane at hand, or on one of its own what begins on an empty folder.
    async fn play(&self, spare: &mut Spare, scene: Scene, plan: Plan<'_>) -> anyhow::Result<Played> {
        let mut lane = match (scene, spare.0.take()) {
            (Scene::First, kept) => {
                spare.0 = kept;
                Lane::lay_out(&self.library)?
            }
            (Scene::Work | Scene::Stop | Scene::Start, Some(lane)) => lane,
            (Scene::Work | Scene::Stop | Scene::Start, None) => Lane::start(&self.library).await?,
        };
        let played = play(&mut lane, scene, plan).await?;
        match scene {
            Scene::First => lane.finish().await?,
            Scene::Work | Scene::Stop | Scene::Start => spare.0 = Some(lane),
        }
        Ok(played)
    }
}

/// The stack that the next scene can be played on; none after one that went wrong.
#[derive(Debug, Default)]
struct Spare(Option<Lane>);

impl Spare {
    async fn finish(self) -> anyhow::Result<()> {
        match self.0 {
            Some(lane) => lane.finish().await,
            None => Ok(()),
        }
    }
}

/// What is still to be done, numbered.
struct Queue<T>(Mutex<VecDeque<(usize, T)>>);

impl<T> Queue<T> {
    fn of(all: impl IntoIterator<Item = T>) -> Self {
        Self(Mutex::new(all.into_iter().enumerate().collect()))
    }

    fn next(&self) -> Option<(usize, T)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
