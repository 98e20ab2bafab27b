//! Sessions that move and break while their operations go on, in random order: nothing is lost, doubled or left behind.
//!
//! A run that fails names its seed; put it into [`SEEDS`] to see it again.

mod world;

use std::collections::BTreeMap;

use self::world::{RE_ENTRANT, StreamId, World};
use super::*;

const SEEDS: std::ops::Range<u64> = 0..150;
const STEPS: usize = 300;
const NAMES: [&str; 3] = ["a", "b", RE_ENTRANT];

struct Simulation {
    rig: Rig,
    world: World,
    random: u64,
    /// Whether streams break, or sessions move in peace only.
    breaks: bool,
    line: Option<StreamId>,
    attempt: Option<StreamId>,
    connecting: Vec<usize>,
    streams: u32,
    asked: BTreeMap<u64, Answer>,
    guards: Vec<Guard>,
    moves: usize,
}

impl Simulation {
    fn new(seed: u64, on_disconnect: OnDisconnect, breaks: bool) -> Self {
        let rig = Rig::with_servers("http://a:1,http://b:2,http://c:3", on_disconnect);
        let mut random = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        random ^= random >> 32;
        let world = World::new(3, on_disconnect == OnDisconnect::Release, random & 1 == 0);
        let mut simulation = Self {
            rig,
            world,
            random,
            breaks,
            line: None,
            attempt: None,
            connecting: Vec::new(),
            streams: 0,
            asked: BTreeMap::new(),
            guards: Vec::new(),
            moves: 0,
        };
        while simulation.line.is_none() {
            simulation.progress();
        }
        simulation
    }

    fn below(&mut self, end: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 33).unwrap() % end
    }

    /// How often the session changed its stream, and whether it lived to the end.
    fn run(mut self) -> (usize, bool) {
        for _ in 0..STEPS {
            match self.below(12) {
                0 | 1 => self.acquire(),
                2 => self.release(),
                3 => self.cancel(),
                4 if self.below(3) == 0 => self.drain(),
                5 if self.breaks && self.below(4) == 0 => self.break_stream(),
                6 if self.breaks && self.below(4) == 0 => self.stand_still(),
                _ => self.progress(),
            }
            if self.has_expired() {
                break;
            }
            self.check();
        }
        self.finish();
        (self.moves, !self.has_expired())
    }

    /// Whether everything was so slow that the session has expired. What follows is for other tests.
    fn has_expired(&self) -> bool {
        let has_expired = self.rig.state.session.is_none() || self.world.opens > 1;
        assert!(!has_expired || (self.breaks && self.guards.is_empty()), "{:?}", self.guards);
        has_expired
    }

    fn acquire(&mut self) {
        let name = NAMES[self.below(NAMES.len())];
        let key = if name == RE_ENTRANT { RE_ENTRANT } else { "" };
        let patience = if self.below(4) == 0 { Patience::Try } else { Patience::Forever };
        let (request_id, answer) = self.rig.acquire_as(name, key, patience);
        self.asked.insert(request_id, answer);
        self.carry_out();
    }

    fn release(&mut self) {
        if !self.guards.is_empty() {
            let guard = self.below(self.guards.len());
            drop(self.guards.swap_remove(guard));
            self.carry_out();
        }
    }

    fn cancel(&mut self) {
        let asked: Vec<u64> = self.asked.keys().copied().collect();
        if asked.is_empty() {
            return;
        }
        let request_id = asked[self.below(asked.len())];
        // As the request's future does when it is dropped.
        let mut answer = self.asked.remove(&request_id).unwrap();
        match answer.try_recv() {
            Ok(answered) => drop(answered),
            Err(_) => self.rig.state.on_command(self.rig.now, Command::Cancel(request_id)),
        }
        drop(answer);
        self.carry_out();
    }

    /// One server drains at a time; one that has done so comes back.
    fn drain(&mut self) {
        let back = self.world.servers.iter().position(|server| server.draining);
        let leaves = self.world.home().filter(|_| back.is_none());
        match (back, leaves) {
            (Some(back), _) if self.world.home() != Some(back) => self.world.servers[back].draining = false,
            (_, Some(server)) => self.world.drain(server),
            _ => {}
        }
    }

    fn break_stream(&mut self) {
        if let Some(stream) = self.line.take() {
            self.cut(stream);
            self.rig.state.on_time(self.rig.now);
            self.rig.state.on_failure(self.rig.now, &broken());
        } else if let Some(stream) = self.attempt.take() {
            self.cut(stream);
            self.rig.fail_next(&broken());
        }
        self.carry_out();
    }

    /// Nothing arrives for a while: attempts are given up, and the server seems to be cut off.
    fn stand_still(&mut self) {
        let pause = 500 + 250 * self.below(4);
        self.rig.pass(Duration::from_millis(u64::try_from(pause).unwrap()));
        self.carry_out();
    }

    /// Some of what was on its way to the server is lost, too.
    fn cut(&mut self, stream: StreamId) {
        let survives = self.below(3);
        let pipe = self.world.pipes.get_mut(&stream).unwrap();
        pipe.to_client.clear();
        pipe.to_server.truncate(survives);
        pipe.to_server.push_back(None);
    }

    /// Something arrives somewhere, or time passes.
    fn progress(&mut self) {
        match self.below(5) {
            0 => {
                let pipes: Vec<StreamId> = self.world.pipes.keys().copied().collect();
                if !pipes.is_empty() {
                    let pipe = pipes[self.below(pipes.len())];
                    self.world.read(pipe);
                }
            }
            1 => {
                let server = self.below(self.world.servers.len());
                self.world.hear(server);
            }
            2 => self.hear_line(),
            3 => self.hear_attempt(),
            _ => {
                let pause = self.below(10);
                self.rig.pass(Duration::from_millis(u64::try_from(pause).unwrap()));
            }
        }
        self.carry_out();
    }

    fn hear_line(&mut self) {
        let Some(stream) = self.line else { return };
        let Some(news) = self.world.pipes.get_mut(&stream).and_then(|pipe| pipe.to_client.pop_front()) else { return };
        self.rig.state.on_time(self.rig.now);
        match news {
            Ok(message) => self.rig.state.on_message(self.rig.now, message),
            Err(failure) => {
                self.line = None;
                self.world.pipes.remove(&stream);
                self.rig.state.on_failure(self.rig.now, &failure);
            }
        }
    }

    fn hear_attempt(&mut self) {
        if let Some(server) = self.connecting.first().copied() {
            self.rig.state.on_time(self.rig.now);
            if self.breaks && self.below(4) == 0 {
                self.connecting.remove(0);
                return self.rig.state.on_unreachable(self.rig.now, server, &broken());
            }
            self.connecting.clear();
            let Some(first) = self.rig.state.on_connected(self.rig.now, server) else { return };
            self.streams += 1;
            let stream = StreamId(server, self.streams);
            self.world.pipes.entry(stream).or_default().to_server.push_back(first.message);
            self.attempt = Some(stream);
            return;
        }
        let Some(stream) = self.attempt else { return };
        let Some(news) = self.world.pipes.get_mut(&stream).and_then(|pipe| pipe.to_client.pop_front()) else { return };
        self.rig.state.on_time(self.rig.now);
        match news {
            Ok(message) => {
                self.rig.state.on_attempt_message(self.rig.now, message);
                if self.rig.state.take_switch().is_some() {
                    self.moves += 1;
                    self.line = self.attempt.take();
                }
            }
            Err(failure) => {
                self.attempt = None;
                self.world.pipes.remove(&stream);
                self.rig.state.on_attempt_failure(self.rig.now, &failure);
            }
        }
    }

    /// What the driver does.
    fn carry_out(&mut self) {
        self.rig.run_commands();
        let messages = self.rig.state.take_messages();
        if let Some(pipe) = self.line.and_then(|line| self.world.pipes.get_mut(&line)) {
            pipe.to_server.extend(messages.into_iter().map(|request| request.message));
        }
        for order in self.rig.orders() {
            match order {
                Order::Connect(servers) => {
                    self.hang_up_attempt();
                    self.connecting = servers;
                }
                Order::Abandon => {
                    self.connecting.clear();
                    self.hang_up_attempt();
                }
                Order::Leave => self.line = None,
                other => panic!("{other:?}"),
            }
        }
        let now = self.rig.now;
        let answered = self.asked.extract_if(.., |_, answer| !answer.is_empty() || answer.is_terminated());
        for (_, mut answer) in answered {
            match answer.try_recv().unwrap() {
                Ok(guard) => self.guards.push(guard),
                Err(error) => assert!(matches!(error, Error::NotAcquired(_) | Error::Unavailable(_)), "{error}"),
            }
        }
        let lost: Vec<_> = self.guards.extract_if(.., |guard| guard.hold().loss(now).is_some()).collect();
        assert!(lost.is_empty() || (self.breaks && self.rig.state.session.is_none()), "{lost:?}");
    }

    fn hang_up_attempt(&mut self) {
        if let Some(stream) = self.attempt.take() {
            let pipe = self.world.pipes.get_mut(&stream).unwrap();
            pipe.to_client.clear();
            pipe.to_server.push_back(None);
        }
    }

    /// What the client believes that it holds, it holds.
    fn check(&self) {
        for guard in &self.guards {
            let id = u128::from_str_radix(&guard.hold_id().reveal(), 16).unwrap();
            assert!(self.world.has_hold(id), "{guard:?} is not held");
            assert!(self.breaks || self.rig.state_of(guard) == HoldState::Held, "{guard:?}");
        }
    }

    /// Without further trouble everything comes to its end.
    fn finish(&mut self) {
        self.world.servers.iter_mut().for_each(|server| server.draining = false);
        self.settle();
        while !self.has_expired() && (!self.guards.is_empty() || !self.asked.is_empty()) {
            for request_id in self.asked.keys() {
                assert!(self.world.waits(*request_id), "{request_id} is forgotten");
            }
            assert!(!self.guards.is_empty(), "{:?} wait for nobody", self.asked.keys());
            self.release();
            self.settle();
        }
        assert!(self.has_expired() || self.world.is_empty(), "something is held, or waits, for nobody");
    }

    /// Lets everything arrive.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            self.progress();
            let calm = self.world.is_quiet(self.line) && self.connecting.is_empty() && self.attempt.is_none();
            let at_home = self.line.is_some_and(|StreamId(server, _)| self.world.home() == Some(server));
            if self.has_expired() || (calm && at_home && self.rig.state.attempt.is_none()) {
                return;
            }
        }
        panic!("it does not come to rest: {:?} {:?}", self.line, self.rig.state.attempt);
    }
}

fn simulate(on_disconnect: OnDisconnect, breaks: bool) {
    let (mut moves, mut survivals) = (0, 0);
    for seed in SEEDS {
        let run = || Simulation::new(seed, on_disconnect, breaks).run();
        match std::panic::catch_unwind(run) {
            Ok((of_this_run, survived)) => {
                moves += of_this_run;
                survivals += usize::from(survived);
            }
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    let runs = SEEDS.count();
    // The first change of each run is no move.
    assert!(moves > 3 * runs && survivals > runs / 2, "{moves} moves, {survivals} survivals prove little");
}

#[test]
fn a_kept_session_moves_in_peace() {
    simulate(OnDisconnect::Keep, false);
}

#[test]
fn a_session_that_ends_with_its_stream_moves_in_peace() {
    simulate(OnDisconnect::Release, false);
}

#[test]
fn a_kept_session_survives_breaks_while_it_moves() {
    simulate(OnDisconnect::Keep, true);
}
