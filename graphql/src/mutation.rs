//! What can be changed: a mutation for each operation of REST that changes or reveals anything, over the
//! same use cases, with the same rights.

use async_graphql::{Context, ID, Object, OutputType, Result, SimpleObject};
use hookseal_core::error::Result as CoreResult;
use hookseal_core::id::{ApiKeyId, DeliveryId, EndpointId, EventId, KeyId, OrganizationId};

use crate::asking::{admin, caller, intake, platform};
use crate::inputs::{
    ApiKeyChangeInput, EndpointChangeInput, NewApiKeyInput, NewEncryptionKeyInput,
    NewEndpointInput, NewEventInput, NewPrivacyRequestInput,
};
use crate::objects::{
    ApiKey, Delivery, EncryptionKey, Endpoint, Event, Organization, PrivacyRequest,
};
use crate::refusal::{UserError, outcome};

/// What a mutation came to: the thing as it is now, or what the caller can mend.
#[derive(SimpleObject)]
#[graphql(concrete(name = "EndpointPayload", params(Endpoint)))]
#[graphql(concrete(name = "EncryptionKeyPayload", params(EncryptionKey)))]
#[graphql(concrete(name = "DeliveryPayload", params(Delivery)))]
#[graphql(concrete(name = "EventPayload", params(Event)))]
#[graphql(concrete(name = "ApiKeyPayload", params(ApiKey)))]
#[graphql(concrete(name = "OrganizationPayload", params(Organization)))]
#[graphql(concrete(name = "PrivacyRequestPayload", params(PrivacyRequest)))]
#[graphql(concrete(name = "DeletedPayload", params(Deleted)))]
#[graphql(concrete(name = "CreatedEndpointPayload", params(CreatedEndpoint)))]
#[graphql(concrete(name = "SigningSecretPayload", params(SigningSecret)))]
#[graphql(concrete(name = "CreatedApiKeyPayload", params(CreatedApiKey)))]
pub(crate) struct Payload<T: OutputType> {
    /// The thing; null when it was refused.
    result: Option<T>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<UserError>,
}

fn payload<T, N: OutputType>(
    result: CoreResult<T>,
    node: impl FnOnce(T) -> N,
) -> Result<Payload<N>> {
    let (done, user_errors) = outcome(result)?;
    Ok(Payload { result: done.map(node), user_errors })
}

/// A thing that is no more.
#[derive(SimpleObject)]
pub(crate) struct Deleted {
    /// Its id.
    id: ID,
}

/// A new endpoint and its signing secret.
#[derive(SimpleObject)]
pub(crate) struct CreatedEndpoint {
    /// The endpoint.
    endpoint: Endpoint,
    /// Its signing secret.
    signing_secret: String,
}

/// An endpoint's signing secret.
#[derive(SimpleObject)]
pub(crate) struct SigningSecret {
    /// The endpoint's id.
    endpoint_id: ID,
    /// The secret.
    signing_secret: String,
}

/// A new API key, shown once.
#[derive(SimpleObject)]
pub(crate) struct CreatedApiKey {
    /// Its record.
    api_key: ApiKey,
    /// The key.
    key: String,
}

/// Changes.
#[derive(Debug)]
pub struct Mutation;

#[Object]
impl Mutation {
    /// Makes an endpoint.
    async fn create_endpoint(
        &self,
        context: &Context<'_>,
        input: NewEndpointInput,
        #[graphql(desc = "The same key and input answer with the same endpoint.")]
        idempotency_key: Option<String>,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Payload<CreatedEndpoint>> {
        let caller = caller(context, organization_id)?;
        let made = admin(context)?.create_endpoint(&caller, input.into(), idempotency_key).await;
        payload(made, |(endpoint, secret)| CreatedEndpoint {
            endpoint: Endpoint(endpoint),
            signing_secret: secret.expose().to_owned(),
        })
    }

    /// Changes the settings of an endpoint.
    async fn update_endpoint(
        &self,
        context: &Context<'_>,
        id: ID,
        input: EndpointChangeInput,
        #[graphql(desc = "Refused unless the endpoint still has this revision.")]
        if_revision: Option<i64>,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Payload<Endpoint>> {
        let caller = caller(context, organization_id)?;
        let admin = admin(context)?;
        let change = async {
            let id = EndpointId::parse("id", &id)?;
            let known = if_revision.map(|revision| vec![revision]);
            admin.change_endpoint(&caller, &id, input.into(), known).await
        };
        payload(change.await, Endpoint)
    }

    /// Deletes an endpoint; its deliveries stay to be read.
    async fn delete_endpoint(
        &self,
        context: &Context<'_>,
        id: ID,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Payload<Deleted>> {
        let caller = caller(context, organization_id)?;
        let admin = admin(context)?;
        let delete = async { admin.delete_endpoint(&caller, &EndpointId::parse("id", &id)?).await };
        payload(delete.await, |()| Deleted { id: id.clone() })
    }

    /// Shows the signing secret of an endpoint.
    async fn reveal_signing_secret(
        &self,
        context: &Context<'_>,
        endpoint_id: ID,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Payload<SigningSecret>> {
        let caller = caller(context, organization_id)?;
        let admin = admin(context)?;
        let reveal = async {
            admin.reveal_secret(&caller, &EndpointId::parse("endpointId", &endpoint_id)?).await
        };
        payload(reveal.await, |secret| SigningSecret {
            endpoint_id: endpoint_id.clone(),
            signing_secret: secret.expose().to_owned(),
        })
    }

    /// Replaces the signing secret of an endpoint.
    async fn rotate_signing_secret(
        &self,
        context: &Context<'_>,
        endpoint_id: ID,
        #[graphql(
            desc = "Seconds that the secret before goes on signing beside the new one, 0 to 604,800; 0 when left out."
        )]
        grace_period_seconds: Option<i64>,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Payload<SigningSecret>> {
        let caller = caller(context, organization_id)?;
        let admin = admin(context)?;
        let rotate = async {
            let id = EndpointId::parse("endpointId", &endpoint_id)?;
            admin.rotate_secret(&caller, &id, grace_period_seconds).await
        };
        payload(rotate.await, |secret| SigningSecret {
            endpoint_id: endpoint_id.clone(),
            signing_secret: secret.expose().to_owned(),
        })
    }

    /// Sends an endpoint a test event.
    async fn test_endpoint(
        &self,
        context: &Context<'_>,
        id: ID,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Payload<Event>> {
        let caller = caller(context, organization_id)?;
        let intake = intake(context)?;
        let test = async { intake.test(&caller, &EndpointId::parse("id", &id)?).await };
        payload(test.await, Event::read)
    }

    /// Registers an encryption key; it becomes the endpoint's only active one.
    async fn create_encryption_key(
        &self,
        context: &Context<'_>,
        endpoint_id: ID,
        input: NewEncryptionKeyInput,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Payload<EncryptionKey>> {
        let caller = caller(context, organization_id)?;
        let admin = admin(context)?;
        let register = async {
            let endpoint = EndpointId::parse("endpointId", &endpoint_id)?;
            admin.register_key(&caller, &endpoint, input.into()).await
        };
        payload(register.await, EncryptionKey)
    }

    /// Makes an encryption key inactive.
    async fn deactivate_encryption_key(
        &self,
        context: &Context<'_>,
        id: ID,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Payload<EncryptionKey>> {
        let caller = caller(context, organization_id)?;
        let admin = admin(context)?;
        let change =
            async { admin.set_key_active(&caller, &KeyId::parse("id", &id)?, false).await };
        payload(change.await, EncryptionKey)
    }

    /// Makes an encryption key its endpoint's only active one.
    async fn reactivate_encryption_key(
        &self,
        context: &Context<'_>,
        id: ID,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Payload<EncryptionKey>> {
        let caller = caller(context, organization_id)?;
        let admin = admin(context)?;
        let change = async { admin.set_key_active(&caller, &KeyId::parse("id", &id)?, true).await };
        payload(change.await, EncryptionKey)
    }

    /// Sends a delivery again, on a fresh schedule that starts now.
    async fn retry_delivery(
        &self,
        context: &Context<'_>,
        id: ID,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Payload<Delivery>> {
        let caller = caller(context, organization_id)?;
        let admin = admin(context)?;
        let retry = async { admin.retry(&caller, &DeliveryId::parse("id", &id)?).await };
        payload(retry.await, Delivery)
    }

    /// Sends every delivery of an event again that retry would accept.
    async fn replay_event(
        &self,
        context: &Context<'_>,
        id: ID,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Payload<Event>> {
        let caller = caller(context, organization_id)?;
        let admin = admin(context)?;
        let replay = async { admin.replay(&caller, &EventId::parse("id", &id)?).await };
        payload(replay.await, Event::read)
    }

    /// Makes an API key.
    async fn create_api_key(
        &self,
        context: &Context<'_>,
        input: NewApiKeyInput,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Payload<CreatedApiKey>> {
        let caller = caller(context, organization_id)?;
        let made = admin(context)?.create_own_api_key(&caller, input.into()).await;
        payload(made, |(key, secret)| CreatedApiKey {
            api_key: ApiKey(key),
            key: secret.expose().to_owned(),
        })
    }

    /// Changes an API key.
    async fn update_api_key(
        &self,
        context: &Context<'_>,
        id: ID,
        input: ApiKeyChangeInput,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Payload<ApiKey>> {
        let caller = caller(context, organization_id)?;
        let admin = admin(context)?;
        let change = async {
            admin.change_api_key(&caller, &ApiKeyId::parse("id", &id)?, input.into()).await
        };
        payload(change.await, ApiKey)
    }

    /// Deletes an API key.
    async fn delete_api_key(
        &self,
        context: &Context<'_>,
        id: ID,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Payload<Deleted>> {
        let caller = caller(context, organization_id)?;
        let admin = admin(context)?;
        let delete = async { admin.delete_api_key(&caller, &ApiKeyId::parse("id", &id)?).await };
        payload(delete.await, |()| Deleted { id: id.clone() })
    }

    /// Makes an organization; for the platform.
    async fn create_organization(
        &self,
        context: &Context<'_>,
        name: String,
        #[graphql(desc = "A UUID to make it under.")] id: Option<ID>,
    ) -> Result<Payload<Organization>> {
        platform(context)?;
        let made = admin(context)?.create_organization(name, id.map(|id| id.0)).await;
        payload(made, Organization)
    }

    /// Renames, freezes or thaws an organization; for the platform.
    async fn update_organization(
        &self,
        context: &Context<'_>,
        id: ID,
        name: Option<String>,
        frozen: Option<bool>,
    ) -> Result<Payload<Organization>> {
        platform(context)?;
        let admin = admin(context)?;
        let change = async {
            let id = OrganizationId::parse_uuid("id", &id)?;
            admin.change_organization(&id, name, frozen).await
        };
        payload(change.await, Organization)
    }

    /// Deletes an organization and, in time, everything that it has; for the platform.
    async fn delete_organization(&self, context: &Context<'_>, id: ID) -> Result<Payload<Deleted>> {
        platform(context)?;
        let admin = admin(context)?;
        let delete =
            async { admin.delete_organization(&OrganizationId::parse_uuid("id", &id)?).await };
        payload(delete.await, |()| Deleted { id: id.clone() })
    }

    /// Publishes an event; for the platform.
    async fn publish_event(
        &self,
        context: &Context<'_>,
        input: NewEventInput,
    ) -> Result<Payload<Event>> {
        platform(context)?;
        let intake = intake(context)?;
        let publish = async { intake.publish(intake.place()?, input.try_into()?).await };
        payload(publish.await, Event::read)
    }

    /// Publishes events, each accepted or refused alone; for the platform.
    async fn publish_events(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "1 to 100 events.", validator(min_items = 1, max_items = 100))]
        inputs: Vec<NewEventInput>,
    ) -> Result<Vec<Payload<Event>>> {
        platform(context)?;
        let intake = intake(context)?;
        let mut published = Vec::with_capacity(inputs.len());
        for input in inputs {
            let publish = async { intake.publish(intake.place()?, input.try_into()?).await };
            published.push(payload(publish.await, Event::read)?);
        }
        Ok(published)
    }

    /// Withdraws a session; for the platform.
    async fn create_privacy_request(
        &self,
        context: &Context<'_>,
        input: NewPrivacyRequestInput,
    ) -> Result<Payload<PrivacyRequest>> {
        platform(context)?;
        payload(intake(context)?.withdraw(input.into()).await, PrivacyRequest)
    }
}
