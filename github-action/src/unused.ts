// What the bundle has in place of packages that @actions/core imports and the action never calls.
export class HttpClient {}
export class BearerCredentialHandler {}
export const getExecOutput = undefined;
