//! A store that is down.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::build::Build;
use crate::error::{Error, ErrorKind, Result};
use crate::name::{BuildId, CommitId, DeliveryId, ReleaseId, SecretName, ServiceName};
use crate::policy::RefKey;
use crate::queue::{Slot, Waiting};
use crate::release::{Lane, LaneState, Release};
use crate::secret::Secret;
use crate::service::{Environment, Service};
use crate::store::{
    Accepted, Changes, Claim, ClaimRequest, Claims, DeliveryRecord, HeadStanding, Hook, HookRoute, Listed,
    MemoryStore, NewDelivery, Page, Quarantined, Registered, Routes, Store, Stored, View, Wants,
};
use crate::webhook::SecretSet;

/// Says no to everything but, while `reads`, the question whose a delivery may be.
#[derive(Debug)]
pub(super) struct Down {
    pub(super) memory: MemoryStore,
    pub(super) reads: bool,
    pub(super) kind: ErrorKind,
}

impl Down {
    fn no<T>(&self) -> Result<T> {
        Err(Error::new(self.kind, "write", "disk at /var/lib/x: no"))
    }
}

#[async_trait]
impl Store for Down {
    async fn put_service(&self, _: &Service, _: Option<u64>, _: Timestamp) -> Result<Registered> {
        self.no()
    }

    async fn service(&self, _: &ServiceName) -> Result<Option<Stored<Service>>> {
        self.no()
    }

    async fn services(&self, _: Page) -> Result<Listed<Stored<Service>>> {
        self.no()
    }

    async fn put_environment(&self, _: &Environment) -> Result<()> {
        self.no()
    }

    async fn environments(&self) -> Result<Vec<Environment>> {
        self.no()
    }

    async fn put_hook(&self, _: &Hook) -> Result<()> {
        self.no()
    }

    async fn hook(&self, _: &ServiceName) -> Result<Option<Hook>> {
        self.no()
    }

    async fn put_trigger_keys(&self, _: &ServiceName, _: &SecretSet) -> Result<()> {
        self.no()
    }

    async fn trigger_keys(&self, _: &ServiceName) -> Result<SecretSet> {
        self.no()
    }

    async fn put_secret(&self, _: &SecretName, _: Option<&Secret>) -> Result<()> {
        self.no()
    }

    async fn secret(&self, _: &SecretName) -> Result<Option<Secret>> {
        self.no()
    }

    async fn routes(&self, route: &HookRoute) -> Result<Routes> {
        if self.reads { self.memory.routes(route).await } else { self.no() }
    }

    async fn accept(&self, _: Vec<NewDelivery>) -> Result<Vec<Accepted>> {
        self.no()
    }

    async fn view(&self, _: &Wants) -> Result<View> {
        self.no()
    }

    async fn save(&self, _: &Changes, _: Option<&Claim>) -> Result<()> {
        self.no()
    }

    async fn let_go(&self, _: &str) -> Result<()> {
        self.no()
    }

    async fn claim(&self, _: &ClaimRequest) -> Result<Claims> {
        self.no()
    }

    async fn renew(&self, _: &[Claim], _: Timestamp) -> Result<Vec<bool>> {
        self.no()
    }

    async fn give_back(&self, _: &Claim, _: Timestamp, _: &str) -> Result<()> {
        self.no()
    }

    async fn finish(&self, _: &Claim) -> Result<()> {
        self.no()
    }

    async fn quarantine(&self, _: &Claim, _: &str, _: Timestamp) -> Result<()> {
        self.no()
    }

    async fn quarantined(&self, _: Page) -> Result<Listed<Quarantined>> {
        self.no()
    }

    async fn queue(&self) -> Result<(Vec<Waiting>, Vec<Slot>)> {
        self.no()
    }

    async fn build(&self, _: &BuildId) -> Result<Option<Build>> {
        self.no()
    }

    async fn builds(&self, _: Option<&ServiceName>, _: Page) -> Result<Listed<Build>> {
        self.no()
    }

    async fn release(&self, _: &ReleaseId) -> Result<Option<Release>> {
        self.no()
    }

    async fn releases(&self, _: Option<&ServiceName>, _: Page) -> Result<Listed<Release>> {
        self.no()
    }

    async fn lane(&self, _: &ServiceName, _: &Lane) -> Result<Option<LaneState>> {
        self.no()
    }

    async fn delivery(&self, _: &DeliveryId) -> Result<Option<DeliveryRecord>> {
        self.no()
    }

    async fn deliveries(&self, _: Option<&ServiceName>, _: Page) -> Result<Listed<DeliveryRecord>> {
        self.no()
    }

    async fn delivery_body(&self, _: &DeliveryId) -> Result<Option<Bytes>> {
        self.no()
    }

    async fn has_undecided(&self, _: &ServiceName) -> Result<bool> {
        self.no()
    }

    async fn decided(&self, _: &ServiceName, _: &[(RefKey, CommitId)]) -> Result<Vec<HeadStanding>> {
        self.no()
    }

    async fn note_heads(&self, _: &ServiceName, _: &[(RefKey, CommitId)]) -> Result<()> {
        self.no()
    }

    async fn expire(&self, _: Timestamp) -> Result<()> {
        self.no()
    }

    async fn check(&self) -> Result<()> {
        self.no()
    }
}
