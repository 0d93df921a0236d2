// Tokens of a real OpenID provider: its configuration, its keys, its forms.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';

import OpenAI from 'openai';
import { Provider } from 'oidc-provider';

import { startServer } from './server.js';

const RESOURCE = 'https://chat.example';
const clients = ['alice', 'bob'].map((id) => ({
  client_id: id,
  client_secret: `${id}-secret`,
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
}));

let issuer, provider, server;

before(async () => {
  const http = createServer();
  await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve));
  issuer = `http://127.0.0.1:${http.address().port}`;
  const resource = { scope: 'chat read', audience: RESOURCE, accessTokenFormat: 'jwt', accessTokenTTL: 600 };
  const oidc = new Provider(issuer, {
    clients,
    scopes: ['chat', 'read'],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: { enabled: true, defaultResource: () => RESOURCE, getResourceServerInfo: () => resource },
    },
  });
  http.on('request', oidc.callback());
  provider = http;
  server = await startServer({
    AUTH: 'jwt',
    JWT_ISSUER: issuer,
    JWT_AUDIENCE: RESOURCE,
    JWT_USER_CLAIM: 'client_id',
    JWT_SCOPES_CLAIM: 'scope',
  });
});

after(async () => {
  await server?.stop();
  provider?.closeAllConnections();
  provider?.close();
});

/** An SDK's client with a token of the provider. */
async function client(id, scope) {
  const answer = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(`${id}:${id}-secret`)}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', scope }),
  });
  assert.equal(answer.status, 200, await answer.clone().text());
  const { access_token } = await answer.json();
  return new OpenAI({ baseURL: `${server.base}/v1`, apiKey: access_token, maxRetries: 0 });
}

test('a token of the provider makes and reads what is its own', async () => {
  const [alice, bob] = [await client('alice', 'chat read'), await client('bob', 'chat read')];
  const made = await alice.responses.create({ model: 'truth', input: 'hello' });
  assert.equal((await alice.responses.retrieve(made.id)).output_text, made.output_text);
  await assert.rejects(bob.responses.retrieve(made.id), OpenAI.NotFoundError);
  const reads = await client('alice', 'read');
  assert.equal((await reads.responses.retrieve(made.id)).id, made.id);
  await assert.rejects(reads.responses.create({ model: 'truth', input: 'hello' }), OpenAI.PermissionDeniedError);
});

test('the SDK takes a refusal for one', async () => {
  const nobody = new OpenAI({ baseURL: `${server.base}/v1`, apiKey: 'none', maxRetries: 0 });
  await assert.rejects(nobody.models.list(), (error) => {
    assert.ok(error instanceof OpenAI.AuthenticationError);
    assert.equal(error.code, 'invalid_api_key');
    return true;
  });
});
