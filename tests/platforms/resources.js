// Whether Kubernetes resources of others than Kubernetes itself (KEDA, Knative) are as their schemas say. Takes them as lines of
// JSON on standard input.

import { createInterface } from 'node:readline';

const PACKAGES = { 'keda.sh': 'keda', 'serving.knative.dev': 'knative' };

let count = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const resource = JSON.parse(line);
  const [group, version] = resource.apiVersion.split('/');
  const module = await import(`@kubernetes-models/${PACKAGES[group]}/${group}/${version}/${resource.kind}`);
  new module[resource.kind](resource).validate();
  count += 1;
}
console.log(`${count} valid`);
