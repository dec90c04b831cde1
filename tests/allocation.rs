//! A step allocates nothing, whatever the method: all memory is there before the first one. One thread; with several, rayon
//! itself allocates now and then.

use starling::graph::GraphSpec;
use starling::network::Network;
use starling::problem::{ProblemSpec, Role};
use starling::ron::parse_ron;
use starling::roster::AlgorithmSpec;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting the calls of each thread.
struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.with(|calls| calls.set(calls.get() + 1));
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn steps_allocate_nothing() {
    let graph: GraphSpec = parse_ron("graph", "Ring(10)").unwrap();
    let graph = graph.build(1).unwrap();
    let family = "Lasso(dimension: 300, rows: 10, l1: 0.1)";
    let family: ProblemSpec = parse_ron("problem", family).unwrap();
    let problem = family.sample(10, 1, Role::Test, 0).unwrap();
    let rules = ["demo", "milodo"].map(|name| {
        let file = format!("{}/models/{name}/rule.ron", env!("CARGO_MANIFEST_DIR"));
        AlgorithmSpec::parse("rule", &format!("Rule({file:?})")).unwrap()
    });
    let constants = AlgorithmSpec::parse("method", "Constants").unwrap();
    let methods = AlgorithmSpec::handcrafted();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    pool.install(|| {
        for method in methods.into_iter().chain([constants]).chain(rules) {
            let mut network = Network::new(&graph);
            let mut process = method.start(&problem, &mut network).unwrap();
            // The first steps may still set up what only they know the size of.
            (0..9).for_each(|_| process.step(&problem, &mut network));
            let before = CALLS.with(Cell::get);
            (0..24).for_each(|_| process.step(&problem, &mut network));
            let calls = CALLS.with(Cell::get) - before;
            assert_eq!(calls, 0, "{method} allocates");
        }
    });
}
