//! A body for both evaluations: one flag, and all.

use crate::world::World;
use hyper::Method;
use serde_json::Value;

pub(crate) fn run(world: &World, input: &[u8]) {
    let one = world.ask(Method::POST, "/ofrep/v1/evaluate/flags/events.stage", input.to_vec()).unwrap();
    let all = world.ask(Method::POST, "/ofrep/v1/evaluate/flags", input.to_vec()).unwrap();
    assert!(matches!(one.status, 200 | 400), "{}", one.status);
    assert_eq!(one.status, all.status, "one flag and all flags read the context differently");
    let (one, all): (Value, Value) =
        (serde_json::from_slice(&one.body).unwrap(), serde_json::from_slice(&all.body).unwrap());
    if let Some(flags) = all["flags"].as_array() {
        assert!(flags.contains(&one), "{one} is not among {all}");
    } else {
        assert_eq!(one["errorCode"], all["errorCode"]);
        assert!(one["errorDetails"].is_string());
    }
}
