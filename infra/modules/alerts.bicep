// Three alerts by e-mail, each a query every quarter of an hour. The gateway writes one JSON object for each line of
// its log; the rules count the member `event` (docs/operations.md). Where lines and failed requests are, depends on what
// runs the gateway.

@description('Name of the app.')
param appName string

@description('Region of the rules.')
param location string

@description('Their tags.')
param tags { *: string }

@description('Resource id of what is queried: Application Insights, or a workspace.')
param sourceId string

@description('How queries begin that read the log: lines as `line`.')
param lines string

@description('The query whose rows are 5xx responses.')
param serverErrors string

@description('Address for the e-mails.')
param email string

@description('Number of 5xx responses in a quarter of an hour that raises an alert.')
@minValue(0)
param mostServerErrors int = 10

@description('Number of failed sign-ins in a quarter of an hour that raises an alert.')
@minValue(0)
param mostFailedSignIns int = 20

var events = '${lines} | extend event = tostring(line.event)'

// Decisions of users and results of `prompt=none` are not failures.
var ordinary = '\'access_denied\', \'login_required\', \'interaction_required\', \'consent_required\''

var rules = [
  {
    name: 'keys'
    title: 'Cloakroom: the key is overdue'
    description: 'The active key is past its life, or a rotation failed. See docs/key-rotation.md.'
    severity: 1
    query: '${events} | where event in (\'key_overdue\', \'key_rotation_failed\')'
    most: 0
  }
  {
    name: 'errors'
    title: 'Cloakroom: server errors'
    description: 'Too many responses with a 5xx status. See docs/operations.md.'
    severity: 2
    query: serverErrors
    most: mostServerErrors
  }
  {
    name: 'sign-ins'
    title: 'Cloakroom: failed sign-ins'
    description: 'Too many failed sign-ins. The member code of the log lines has the reason.'
    severity: 2
    query: '${events} | where event == \'sign_in_failed\' and tostring(line.code) !in (${ordinary})'
    most: mostFailedSignIns
  }
]

resource group 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-${appName}'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'cloakroom'
    emailReceivers: [
      {
        name: 'operators'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

resource alerts 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for rule in rules: {
    name: 'alert-${appName}-${rule.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: rule.title
      description: rule.description
      enabled: true
      severity: rule.severity
      scopes: [
        sourceId
      ]
      evaluationFrequency: 'PT15M'
      windowSize: 'PT15M'
      autoMitigate: true
      criteria: {
        allOf: [
          {
            query: rule.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: rule.most
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: {
        actionGroups: [
          group.id
        ]
      }
    }
  }
]
