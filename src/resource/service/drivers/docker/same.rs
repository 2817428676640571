//! The configuration of a container, for one that takes its place with another image: what the operator has said, and nothing that
//! only its image has said.
use super::switch::REPLACES;
use crate::resource::Failure;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, EndpointSettings, HostConfig, ImageInspect, MountPoint, MountType,
    NetworkingConfig,
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};

/// What may be put together from what both say.
const MERGED: [&str; 4] = ["Labels", "ExposedPorts", "Volumes", "Healthcheck"];

pub struct Same {
    pub body: Box<ContainerCreateBody>,
    /// A container can be made in one network; it is connected to these afterwards.
    pub networks: BTreeMap<String, EndpointSettings>,
}

pub fn same(old: &ContainerInspectResponse, made_from: &ImageInspect, image: &str) -> Result<Same, Failure> {
    let id = old.id.as_deref().unwrap_or_default();
    let mut config = object(&old.config)?;
    without_image(&mut config, object(&made_from.config)?);
    let host = old.host_config.clone().unwrap_or_default();
    let mode = host.network_mode.clone().unwrap_or_default();
    // Nobody has given it this name, or it may not be given one.
    let given = config.get("Hostname").and_then(Value::as_str).is_some_and(|name| Some(name) != short(id));
    if !given || mode == "host" || mode.starts_with("container:") || host.uts_mode.as_deref() == Some("host") {
        config.remove("Hostname");
    }
    config.insert("Image".to_owned(), image.into());
    let mut labels = config.get("Labels").and_then(Value::as_object).cloned().unwrap_or_default();
    labels.insert(REPLACES.to_owned(), id.into());
    config.insert("Labels".to_owned(), labels.into());
    let body = serde_json::from_value::<ContainerCreateBody>(config.into()).map_err(|e| unread(&e))?;
    let mut networks = networks(old, id, &mode);
    let first = networks.remove_entry(if mode == "default" { "bridge" } else { &mode });
    let networking_config =
        first.map(|(name, at)| NetworkingConfig { endpoints_config: Some(HashMap::from([(name, at)])) });
    let host_config = Some(host_config(host, old.mounts.as_deref().unwrap_or_default()));
    let body = Box::new(ContainerCreateBody { host_config, networking_config, ..body });
    Ok(Same { body, networks })
}

/// What the daemon calls it where nobody has given it a name.
fn short(id: &str) -> Option<&str> {
    id.get(..12)
}

fn unread(error: &serde_json::Error) -> Failure {
    Failure::failed(format!("the configuration of its container cannot be read: {error}"))
}

fn object(value: &impl Serialize) -> Result<Map<String, Value>, Failure> {
    match serde_json::to_value(value).map_err(|e| unread(&e))? {
        Value::Object(object) => Ok(object),
        _ => Ok(Map::new()),
    }
}

/// The next image has its own say about these.
fn without_image(config: &mut Map<String, Value>, image: Map<String, Value>) {
    // Arguments that are the image's belong to its own program.
    let own_program =
        config.get("Entrypoint").unwrap_or(&Value::Null) != image.get("Entrypoint").unwrap_or(&Value::Null);
    for (key, theirs) in image {
        if key == "Cmd" && own_program {
            continue;
        }
        match (config.get_mut(&key), &theirs) {
            (Some(Value::Array(own)), Value::Array(theirs)) if key == "Env" => {
                own.retain(|line| !theirs.contains(line))
            }
            (Some(Value::Object(own)), Value::Object(theirs)) if MERGED.contains(&key.as_str()) => {
                own.retain(|name, value| theirs.get(name) != Some(value));
            }
            (Some(own), theirs) if own == theirs => drop(config.remove(&key)),
            _ => {}
        }
    }
    for of_the_build in ["OnBuild", "ArgsEscaped"] {
        config.remove(of_the_build);
    }
}

/// What its volumes hold goes on, also in those that nobody has named.
fn host_config(mut host: HostConfig, mounted: &[MountPoint]) -> HostConfig {
    let mut binds = host.binds.take().unwrap_or_default();
    for mount in mounted.iter().filter(|mount| mount.typ.as_deref() == Some("volume")) {
        let (Some(name), Some(at)) = (&mount.name, &mount.destination) else { continue };
        if let Some(said) = host.mounts.iter_mut().flatten().find(|said| said.target.as_ref() == Some(at)) {
            if said.typ == Some(MountType::VOLUME) {
                said.source = Some(name.clone());
            }
            continue;
        }
        // `NAME:PLACE`, `NAME:PLACE:OPTIONS`
        if !binds.iter().any(|bind| bind.split(':').nth(1) == Some(at)) {
            binds.push(if mount.rw == Some(false) { format!("{name}:{at}:ro") } else { format!("{name}:{at}") });
        }
    }
    host.binds = (!binds.is_empty()).then_some(binds);
    // `/other:/this/alias` is told, `other:alias` is understood.
    for link in host.links.iter_mut().flatten() {
        if let Some((other, alias)) = link.split_once(':') {
            *link = format!("{}:{}", other.trim_start_matches('/'), alias.rsplit('/').next().unwrap_or(alias));
        }
    }
    host
}

/// How it is known in its networks, without what the daemon gave it by itself.
fn networks(old: &ContainerInspectResponse, id: &str, mode: &str) -> BTreeMap<String, EndpointSettings> {
    if matches!(mode, "none" | "host") || mode.starts_with("container:") {
        return BTreeMap::new();
    }
    let networks = old.network_settings.as_ref().and_then(|settings| settings.networks.clone()).unwrap_or_default();
    let said = |at: EndpointSettings| EndpointSettings {
        aliases: at.aliases.map(|names| names.into_iter().filter(|name| Some(name.as_str()) != short(id)).collect()),
        ipam_config: at.ipam_config,
        links: at.links,
        driver_opts: at.driver_opts,
        gw_priority: at.gw_priority,
        ..EndpointSettings::default()
    };
    networks.into_iter().map(|(name, at)| (name, said(at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body(old: Value, image: Value) -> Value {
        let same = same(&serde_json::from_value(old).unwrap(), &serde_json::from_value(image).unwrap(), "sha256:2");
        serde_json::to_value(&*same.unwrap().body).unwrap()
    }

    #[test]
    fn what_only_the_image_has_said_the_next_one_says_for_itself() {
        let old = json!({ "Id": "0123456789abcdef", "Config": {
            "Hostname": "0123456789ab", "User": "shop", "Env": ["PATH=/bin", "VERSION=1", "PORT=80"],
            "Cmd": ["serve"], "Entrypoint": ["/shop"], "WorkingDir": "/srv", "Image": "shop:1",
            "Labels": { "version": "1", "team": "shop", REPLACES: "fedcba" }, "ExposedPorts": { "80/tcp": {}, "81/tcp": {} },
            "Healthcheck": { "Test": ["CMD", "/well"], "Interval": 5 },
        } });
        let image = json!({ "Config": {
            "User": "", "Env": ["PATH=/bin", "VERSION=1"], "Cmd": ["serve"], "Entrypoint": ["/shop"], "WorkingDir": "/",
            "Labels": { "version": "1" }, "ExposedPorts": { "80/tcp": {} }, "Healthcheck": { "Test": ["CMD", "/well"] },
        } });
        let expected = json!({
            "User": "shop", "Env": ["PORT=80"], "WorkingDir": "/srv", "Image": "sha256:2",
            "Labels": { "team": "shop", REPLACES: "0123456789abcdef" }, "ExposedPorts": { "81/tcp": {} },
            "Healthcheck": { "Interval": 5 }, "HostConfig": {},
        });
        assert_eq!(body(old, image), expected);
        // With a program of the operator's, arguments are the operator's too.
        let old = json!({ "Id": "01", "Config": { "Hostname": "web", "Cmd": ["serve"], "Entrypoint": ["/own"] } });
        let made = body(old, json!({ "Config": { "Cmd": ["serve"], "Entrypoint": ["/shop"] } }));
        assert_eq!((&made["Cmd"], &made["Entrypoint"]), (&json!(["serve"]), &json!(["/own"])));
        assert_eq!(made["Hostname"], "web");
    }

    #[test]
    fn volumes_and_names_in_networks_are_kept() {
        let old = json!({ "Id": "0123456789abcdef",
            "HostConfig": {
                "NetworkMode": "shops", "Binds": ["/srv/a:/a:ro", "named:/b"], "Links": ["/db:/web/store"],
                "Mounts": [{ "Type": "volume", "Target": "/d" }],
            },
            "Mounts": [
                { "Type": "bind", "Source": "/srv/a", "Destination": "/a" },
                { "Type": "volume", "Name": "named", "Destination": "/b", "RW": true },
                { "Type": "volume", "Name": "f00", "Destination": "/c", "RW": true },
                { "Type": "volume", "Name": "ba4", "Destination": "/d", "RW": true },
            ],
            "NetworkSettings": { "Networks": {
                "shops": { "Aliases": ["web", "0123456789ab"], "IPAMConfig": { "IPv4Address": "10.0.0.7" }, "IPAddress": "10.0.0.7" },
                "others": { "Aliases": null, "IPAddress": "10.1.0.7" },
            } },
        });
        let made = body(old, json!({}));
        let host = json!({
            "NetworkMode": "shops", "Binds": ["/srv/a:/a:ro", "named:/b", "f00:/c"], "Links": ["db:store"],
            "Mounts": [{ "Type": "volume", "Target": "/d", "Source": "ba4" }],
        });
        assert_eq!(made["HostConfig"], host);
        let network = json!({ "shops": { "Aliases": ["web"], "IPAMConfig": { "IPv4Address": "10.0.0.7" } } });
        assert_eq!(made["NetworkingConfig"]["EndpointsConfig"], network);
    }
}
