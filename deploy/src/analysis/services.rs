//! Which services an application needs, as compose files and the names of variables say; what dependencies say, its
//! provider knows.

use super::compose;
use crate::{
    fact::{Application, Evidence, Service},
    tree::Tree,
};

/// The names of images, without registry and tag.
const IMAGES: [(&str, &str); 24] = [
    ("postgres", "postgres"),
    ("postgis", "postgres"),
    ("pgvector", "postgres"),
    ("timescaledb", "postgres"),
    ("mysql", "mysql"),
    ("mariadb", "mysql"),
    ("percona", "mysql"),
    ("mongo", "mongodb"),
    ("redis", "redis"),
    ("valkey", "redis"),
    ("dragonfly", "redis"),
    ("redis-stack", "redis"),
    ("memcached", "memcached"),
    ("rabbitmq", "rabbitmq"),
    ("nats", "nats"),
    ("kafka", "kafka"),
    ("cp-kafka", "kafka"),
    ("redpanda", "kafka"),
    ("elasticsearch", "elasticsearch"),
    ("opensearch", "elasticsearch"),
    ("clickhouse-server", "clickhouse"),
    ("minio", "minio"),
    ("cassandra", "cassandra"),
    ("neo4j", "neo4j"),
];
/// What the names of variables begin with.
const VARIABLES: [(&str, &str); 15] = [
    ("POSTGRES_", "postgres"),
    ("PGHOST", "postgres"),
    ("PGDATABASE", "postgres"),
    ("MYSQL_", "mysql"),
    ("MARIADB_", "mysql"),
    ("MONGO_", "mongodb"),
    ("MONGODB_", "mongodb"),
    ("REDIS_", "redis"),
    ("RABBITMQ_", "rabbitmq"),
    ("AMQP_", "rabbitmq"),
    ("MEMCACHED_", "memcached"),
    ("MEMCACHE_", "memcached"),
    ("KAFKA_", "kafka"),
    ("NATS_", "nats"),
    ("ELASTICSEARCH_", "elasticsearch"),
];

/// Adds what compose files and variables say to what the provider knows, and sorts it.
pub(super) fn complete(tree: &Tree, application: &mut Application) {
    let images = compose::services(tree).into_iter().filter_map(|service| {
        let (image, at) = service.image()?;
        let name = image.rsplit('/').next()?.split([':', '@']).next()?;
        IMAGES.iter().find(|(image, _)| *image == name).map(|(_, service)| (*service, vec![at]))
    });
    let variables = application.env.iter().filter_map(|variable| {
        let found = VARIABLES.iter().find(|(start, _)| variable.name.starts_with(start));
        found.map(|(_, service)| (*service, variable.evidence.clone()))
    });
    let found: Vec<(&str, Vec<Evidence>)> = images.chain(variables).collect();
    for (name, evidence) in found {
        match application.services.iter_mut().find(|service| service.name == name) {
            Some(service) => service.evidence.extend(evidence),
            None => application.services.push(Service { name: name.to_owned(), evidence }),
        }
    }
    for service in &mut application.services {
        service.evidence.sort();
        service.evidence.dedup();
    }
    application.services.sort_by(|one, other| one.name.cmp(&other.name));
}
