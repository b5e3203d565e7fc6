//! A request as text: method and path in the first line, the body below.

use crate::world::World;
use hyper::Method;

/// Every path of the API: a new one is found by the mutations at once.
pub(crate) fn paths() -> Vec<String> {
    let document = serde_json::to_value(crossfade_server::http::openapi()).unwrap();
    let named =
        |path: &String| path.replace("{id}", "events").replace("{instance}", "app-1").replace("{key}", "events.stage");
    document["paths"].as_object().unwrap().keys().map(named).collect()
}

pub(crate) fn run(world: &World, input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let Ok(line) = std::str::from_utf8(&input[..end]) else { return };
    let mut words = line.split(' ');
    let method = words.next().and_then(|method| Method::from_bytes(method.as_bytes()).ok()).unwrap_or(Method::POST);
    // Steps ask for the revision in force, which no corpus can know.
    let now = |text: &str| text.replace("@NOW", &world.revision());
    let Some(path) = words.next().filter(|path| path.starts_with('/')) else { return };
    let body = input.get(end + 1..).unwrap_or_default();
    let body = std::str::from_utf8(body).map_or_else(|_| body.to_vec(), |text| now(text).into_bytes());
    let Some(answer) = world.ask(method, &now(path), body) else { return };
    if std::env::var_os("CROSSFADE_FUZZ_SHOW").is_some() {
        println!(
            "{line}: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body).chars().take(300).collect::<String>()
        );
    }
    let ended = path.ends_with("/retire") || path.ends_with("/goodbye") || path.contains("/end");
    if answer.status < 300 && ended {
        world.refresh();
    }
}
