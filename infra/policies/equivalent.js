// The alterations that no decision can notice, and why. One that a decision notices is stale, and fails.
module.exports = {
    'functions/attest: statement 6 with every resource': 'NoOtherKey denies it on every other key',
    'functions/attest: statement 7 with every resource': 'NoOtherKey denies it on every other key',
    'functions/attest-moving: statement 6 with every resource': 'NoOtherKey denies it on every other key',
    'functions/attest-moving: statement 7 with every resource': 'NoOtherKey denies it on every other key',
    'functions/auth: statement 2 with every resource': 'NoOtherKey denies it on every other key',
    'functions/auth-moving: statement 2 with every resource': 'NoOtherKey denies it on every other key',
    'key: ResourcesRewraps with every action':
        'only a re-encryption says whether it stays under the key, and the condition asks for that',
    'key: SigningKeys without kms:Encrypt':
        'attest may wrap signing keys as every operator may, by OperatorsWrapSigningKeys',
    'moving: RewrapsSecrets with every action': 'as ResourcesRewraps',
    'moving: RewrapsBrokerKeys with every action': 'as ResourcesRewraps',
    'operators/rewrap: statement 6 with every resource': 'FromTheOldKeyAlone denies it on every other key',
    'operators/rewrap: statement 7 with every resource': 'ToTheNewKeyAlone denies it on every other key',
    'operators/signing-keys: statement 4 with every resource': 'NoOtherKey denies it on every other key',
    'organisation: NobodyElseMovesTheAlias with every action': 'no other action of KMS is on an alias',
    'other/topic: AlarmsPublish with every resource': 'the policy of a topic is about that topic alone',
    'other/topic: RulesPublish with every resource': 'the policy of a topic is about that topic alone',
    'tables/decisions: AttestAloneWrites with every resource': 'the policy of a table is about that table alone',
    'tables/sessions: AttestAloneWrites with every resource': 'the policy of a table is about that table alone',
}
