//! WASI with nothing behind it: no files, no network, random numbers from the run's seed. Its clocks stand still; only a sleep
//! moves them, and every sleep (Python's `time.sleep`, a `poll` with a timeout) is an operation that passes the gate.
use super::{console::Console, engine::Host};
use crate::{
    capability::{AsCall, clock},
    gate::Gate,
    resource::Resources,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};
use wasmtime::{
    Result,
    component::{HasData, Linker, Resource, ResourceTable},
};
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, WasiCtx,
    p2::{
        self, DynPollable, Pollable,
        bindings::{clocks::monotonic_clock, io::poll},
        subscribe,
    },
};

/// Virtual nanoseconds since the start of the step, and the earliest moment that the guest is waiting for.
#[derive(Clone, Default)]
pub struct Clock(Arc<Mutex<Time>>);

#[derive(Default)]
struct Time {
    now: u64,
    next: Option<u64>,
}

impl Clock {
    fn time(&self) -> MutexGuard<'_, Time> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        1
    }
    fn now(&self) -> u64 {
        self.time().now
    }
}

struct Wall {
    clock: Clock,
    started: Duration,
}
impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }
    fn now(&self) -> Duration {
        self.started + Duration::from_nanos(self.clock.time().now)
    }
}

/// wasmtime-wasi's own timers run on the real clock, whatever clock is configured.
struct Until {
    at: u64,
    clock: Clock,
}
#[async_trait::async_trait]
impl Pollable for Until {
    async fn ready(&mut self) {
        {
            let mut time = self.clock.time();
            if time.now >= self.at {
                return;
            }
            time.next = Some(time.next.map_or(self.at, |next| next.min(self.at)));
        }
        std::future::pending().await
    }
}

pub struct View<'a> {
    clock: &'a Clock,
    table: &'a mut ResourceTable,
    gate: &'a Gate,
    resources: &'a Resources,
}

struct HasView;
impl HasData for HasView {
    type Data<'a> = View<'a>;
}

impl View<'_> {
    /// Looks once; when nothing is ready, sleeps until the first thing can be, and looks again.
    async fn look<T>(&mut self, looking: impl AsyncFn(&mut ResourceTable) -> Result<T>) -> Result<T> {
        loop {
            self.clock.time().next = None;
            {
                let mut future = std::pin::pin!(looking(self.table));
                if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    return done;
                }
            }
            let (now, next) = {
                let time = self.clock.time();
                (time.now, time.next)
            };
            let Some(next) = next else {
                return Err(wasmtime::Error::msg("the script waits for something that can never happen"));
            };
            // Rounded up, so that a short sleep is a sleep.
            let millis = (next - now).div_ceil(1_000_000);
            self.gate.perform(self.resources, clock::ops::Sleep { millis }).await?;
            self.clock.time().now = next;
        }
    }
}

impl monotonic_clock::Host for View<'_> {
    fn now(&mut self) -> Result<u64> {
        Ok(self.clock.time().now)
    }
    fn resolution(&mut self) -> Result<u64> {
        Ok(1)
    }
    fn subscribe_instant(&mut self, at: u64) -> Result<Resource<DynPollable>> {
        let until = self.table.push(Until { at, clock: self.clock.clone() })?;
        subscribe(self.table, until)
    }
    fn subscribe_duration(&mut self, by: u64) -> Result<Resource<DynPollable>> {
        let at = self.clock.time().now.saturating_add(by);
        self.subscribe_instant(at)
    }
}

impl poll::Host for View<'_> {
    async fn poll(&mut self, list: Vec<Resource<DynPollable>>) -> Result<Vec<u32>> {
        let reps: Vec<u32> = list.iter().map(Resource::rep).collect();
        self.look(async |table: &mut ResourceTable| {
            poll::Host::poll(table, reps.iter().map(|rep| Resource::new_borrow(*rep)).collect()).await
        })
        .await
    }
}

impl poll::HostPollable for View<'_> {
    async fn block(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        let rep = pollable.rep();
        self.look(async |table: &mut ResourceTable| poll::HostPollable::block(table, Resource::new_borrow(rep)).await)
            .await
    }
    async fn ready(&mut self, pollable: Resource<DynPollable>) -> Result<bool> {
        poll::HostPollable::ready(self.table, pollable).await
    }
    fn drop(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        poll::HostPollable::drop(self.table, pollable)
    }
}

pub fn link(linker: &mut Linker<Host>) -> Result<()> {
    p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<_, HasView>(linker, view)?;
    poll::add_to_linker::<_, HasView>(linker, view)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn view(host: &mut Host) -> View<'_> {
    View { clock: &host.clock, table: &mut host.table, gate: &host.gate, resources: &host.resources }
}

impl AsCall for Host {
    fn call(&mut self) -> crate::capability::Call<'_> {
        crate::capability::Call { gate: &self.gate, resources: &self.resources }
    }
}

/// Bytes that one call gives.
pub const MAX_RANDOM: u64 = 1 << 20;

pub fn context(seed: u64, started: Duration, clock: &Clock, console: &Console) -> WasiCtx {
    WasiCtx::builder()
        .stdout(console.out.clone())
        .stderr(console.err.clone())
        .wall_clock(Wall { clock: clock.clone(), started })
        .monotonic_clock(clock.clone())
        .secure_random(ChaCha20Rng::seed_from_u64(seed))
        .insecure_random(ChaCha20Rng::seed_from_u64(!seed))
        .insecure_random_seed(seed.into())
        .max_random_size(MAX_RANDOM)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}
