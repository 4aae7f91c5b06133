import type { Mutation } from './mutation.ts'

const access = 'src/http/access.ts'
const admission = ['test/http/access.test.ts']
const answers = ['test/http/answer.test.ts']

/** Who is let in, and to what. */
export const accessMutations: readonly Mutation[] = [
  {
    why: 'a key is wanted',
    file: access,
    find: 'if (key === undefined) return refused(',
    replace:
      "if (key === undefined) return { kind: 'caller', caller: localCaller }\n  if (key === null) return refused(",
    tests: admission,
  },
  {
    why: 'no key and a wrong one are told apart, and neither is let in',
    file: access,
    find: 'presented === undefined ? undefined : keyOf(policy.keys, presented)',
    replace: 'presented === undefined ? policy.keys[0] : keyOf(policy.keys, presented)',
    tests: admission,
  },
  {
    why: 'a key is its own, and none that only looks like it',
    file: access,
    find: "timingSafeEqual(hash, Buffer.from(key.sha256, 'hex'))",
    replace: "timingSafeEqual(hash.subarray(0, 0), Buffer.from(key.sha256, 'hex').subarray(0, 0))",
    tests: admission,
  },
  {
    why: 'what is compared is the hash of the key, not the hash itself',
    file: access,
    find: "createHash('sha256').update(presented).digest()",
    replace:
      "(presented.length === 64 ? Buffer.from(presented, 'hex') : createHash('sha256').update(presented).digest())",
    tests: admission,
  },
  {
    why: 'a read-only key changes nothing',
    file: access,
    find: 'if (isReadOnly && !isReading(asking.method)) return refused(readOnlyKey)',
    replace: '',
    tests: admission,
  },
  {
    why: 'only GET and HEAD read',
    file: access,
    find: "return method === 'GET' || method === 'HEAD'",
    replace: "return method !== 'DELETE'",
    tests: admission,
  },
  {
    why: 'a read-only key may ask with HEAD',
    file: access,
    find: "return method === 'GET' || method === 'HEAD'",
    replace: "return method === 'GET'",
    tests: admission,
  },
  {
    why: 'a key is an admin’s only where it says so',
    file: access,
    find: 'caller: { key: name, isAdmin, isReadOnly }',
    replace: 'caller: { key: name, isAdmin: true, isReadOnly }',
    tests: admission,
  },
  {
    why: 'an admin is one',
    file: access,
    find: 'caller: { key: name, isAdmin, isReadOnly }',
    replace: 'caller: { key: name, isAdmin: false, isReadOnly }',
    tests: admission,
  },
  {
    why: 'who comes by an open route has no rights',
    file: access,
    find: 'const nobody: Caller = { key: null, isAdmin: false, isReadOnly: true }',
    replace: 'const nobody: Caller = { key: null, isAdmin: true, isReadOnly: true }',
    tests: admission,
  },
  {
    why: 'an open route wants no key',
    file: access,
    find: "if (isOpen) return { kind: 'caller', caller: nobody }\n  const presented",
    replace: 'const presented',
    tests: admission,
  },
  {
    why: 'on Azure nobody is let in without keys',
    file: access,
    find: 'if (policy.azureSigns !== null) {',
    replace: 'if (policy.azureSigns === undefined) {',
    tests: admission,
  },
  {
    why: 'on Azure without keys the open routes give no rights',
    file: access,
    find: "if (isOpen) return { kind: 'caller', caller: nobody }\n    tellKeysAreMissing",
    replace: "if (isOpen) return { kind: 'caller', caller: localCaller }\n    tellKeysAreMissing",
    tests: admission,
  },
  {
    why: 'the log says that keys are missing',
    file: access,
    find: '    tellKeysAreMissing(policy)\n',
    replace: '',
    tests: admission,
  },
  {
    why: 'without keys the service answers on this machine only',
    file: access,
    find: 'if (!hosts.every((host) =>',
    replace: 'if (hosts.length < 2 && !hosts.every((host) =>',
    tests: admission,
  },
  {
    why: 'the host of the address counts',
    file: access,
    find: '    URL.parse(url)?.host,\n',
    replace: '',
    tests: admission,
  },
  {
    why: 'the host that the request names counts',
    file: access,
    find: "    headers.get('host'),\n",
    replace: '',
    tests: admission,
  },
  {
    why: 'the host before a proxy counts',
    file: access,
    find: "    ...(headers.get('x-forwarded-host') ?? '').split(','),\n",
    replace: '',
    tests: admission,
  },
  {
    why: 'a name that only begins as this machine’s is another’s',
    file: access,
    find: '/^127(\\.\\d{1,3}){3}$/.test(name)',
    replace: '/^127(\\.\\d{1,3}){3}/.test(name)',
    tests: admission,
  },
  {
    why: 'without keys web pages of other places are refused',
    file: access,
    find: '  if (!isOurs) {',
    replace: '  if (!isOurs && policy.corsOrigins.length > 0) {',
    tests: admission,
  },
  {
    why: 'a page that is allowed may ask without keys',
    file: access,
    find: '    isAllowedOrigin(policy.corsOrigins, origin)\n',
    replace: '    false\n',
    tests: admission,
  },
  {
    why: 'an origin is allowed only where it is named',
    file: access,
    find: "return origins.includes('*') || origins.includes(origin)",
    replace: 'return origins.length > 0',
    tests: answers,
  },
  {
    why: 'a reply is readable to the pages that are allowed, and to no others',
    file: 'src/http/cors.ts',
    find: 'if (origin === null || !isAllowedOrigin(corsOrigins, origin))',
    replace: 'if (origin === null)',
    tests: answers,
  },
  {
    why: 'a refused request is not handled',
    file: 'src/http/answer.ts',
    find: "const admission = admit(policy, request, route.isOpen)\n    if (admission.kind === 'refused') return replyError(admission.error)",
    replace:
      "const admitted = admit(policy, request, route.isOpen)\n    const admission = admitted.kind === 'refused' ? { caller: { key: null, isAdmin: true, isReadOnly: false } } : admitted",
    tests: answers,
  },
  {
    why: 'only an open route is handled without a key',
    file: 'src/http/answer.ts',
    find: 'admit(policy, request, route.isOpen)',
    replace: 'admit(policy, request, true)',
    tests: answers,
  },
  {
    why: 'who is refused is not told which paths there are',
    file: 'src/http/answer.ts',
    find: "const admission = admit(policy, request, false)\n    if (admission.kind === 'refused') return replyError(admission.error)\n",
    replace: '',
    tests: answers,
  },
  {
    why: 'a route wants a key unless it says otherwise',
    file: 'src/functions/route.ts',
    find: 'isOpen = false',
    replace: 'isOpen = true',
    tests: ['test/functions/access/matrix.test.ts'],
    named: 'get-budget',
  },
  ...['post-job', 'list-batches', 'get-file-content', 'get-budget'].map((name) => openRoute(name)),
  {
    why: 'keys are read from the settings with what they may do: read-only',
    file: 'src/settings/api-keys.ts',
    find: 'isReadOnly: values.read_only ?? false',
    replace: 'isReadOnly: false',
    tests: ['test/settings/api-keys.test.ts'],
  },
  {
    why: 'keys are read from the settings with what they may do: admin',
    file: 'src/settings/api-keys.ts',
    find: 'isAdmin: values.admin ?? false',
    replace: 'isAdmin: true',
    tests: ['test/settings/api-keys.test.ts'],
  },
  {
    why: 'one key under two names is a fault',
    file: 'src/settings/api-keys.ts',
    find: '...repeated(keys)',
    replace: '',
    tests: ['test/settings/api-keys.test.ts'],
  },
  {
    why: 'the policy has the keys of the settings',
    file: access,
    find: 'return { keys, azureSigns, corsOrigins, now, log }',
    replace: 'return { keys: [], azureSigns, corsOrigins, now, log }',
    tests: ['test/functions/access/matrix.test.ts'],
    named: 'get-budget',
  },
]

function openRoute(name: string): Mutation {
  return {
    why: `${name} wants a key`,
    file: 'src/functions/http.ts',
    find: `route('${name}', { `,
    replace: `route('${name}', { isOpen: true, `,
    tests: ['test/functions/access/matrix.test.ts'],
    named: `${name} > tells`,
  }
}
