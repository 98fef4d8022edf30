package desk

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// schema is the part of JSON Schema that openapi.json uses.
type schema struct {
	Ref        string            `json:"$ref"`
	Type       string            `json:"type"`
	Properties map[string]schema `json:"properties"`
	Required   []string          `json:"required"`
	Items      *schema           `json:"items"`
	Enum       []string          `json:"enum"`
	// Additional is false or a schema.
	Additional json.RawMessage `json:"additionalProperties"`
}

type content map[string]struct {
	Schema schema `json:"schema"`
}

type described struct {
	Paths map[string]map[string]struct {
		Summary     string `json:"summary"`
		RequestBody *struct {
			Required bool    `json:"required"`
			Content  content `json:"content"`
		} `json:"requestBody"`
		Responses map[string]struct {
			Content content `json:"content"`
		} `json:"responses"`
	} `json:"paths"`
	Components struct {
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

func description(t *testing.T) described {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(string(openAPI)))
	var d described
	require.NoError(t, decoder.Decode(&d))
	return d
}

// resolve follows a $ref.
func (d described) resolve(t *testing.T, s schema) schema {
	t.Helper()
	if s.Ref == "" {
		return s
	}
	found, ok := d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	require.True(t, ok, "there is no %s", s.Ref)
	return found
}

// TestOpenAPIHasEveryOperationAndNoOther compares paths and methods, and that
// each is in fact served.
func TestOpenAPIHasEveryOperationAndNoOther(t *testing.T) {
	t.Parallel()
	d := description(t)
	var described, served []string
	for path, methods := range d.Paths {
		for method, op := range methods {
			described = append(described, strings.ToUpper(method)+" "+path)
			assert.NotEmpty(t, op.Summary, path)
		}
	}
	for name, methods := range operations {
		for method := range methods {
			served = append(served, method+" "+Prefix+name)
		}
	}
	slices.Sort(described)
	slices.Sort(served)
	assert.Equal(t, served, described)
}

// TestOpenAPIHasTheFieldsOfEveryBody compares the schemas with the types that
// bodies are read into and written from.
func TestOpenAPIHasTheFieldsOfEveryBody(t *testing.T) {
	t.Parallel()
	d := description(t)
	for path, methods := range d.Paths {
		for method, op := range methods {
			own := operations[strings.TrimPrefix(path, Prefix)][strings.ToUpper(method)]
			if own.request == nil {
				assert.Nil(t, op.RequestBody, path)
			} else {
				require.NotNil(t, op.RequestBody, path)
				d.compare(t, path, op.RequestBody.Content["application/json"].Schema, reflect.TypeOf(own.request))
				assert.Contains(t, op.Responses, "400", path)
			}
			if own.answer != nil {
				d.compare(t, path, op.Responses["200"].Content["application/json"].Schema, reflect.TypeOf(own.answer))
			}
		}
	}
}

// compare holds a schema to a type, down to the leaves.
func (d described) compare(t *testing.T, where string, s schema, typ reflect.Type) {
	t.Helper()
	s = d.resolve(t, s)
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	switch {
	case typ.String() == "time.Time" || typ.Kind() == reflect.String:
		assert.Equal(t, "string", s.Type, where)
	case typ.Kind() == reflect.Int || typ.Kind() == reflect.Int64:
		assert.Equal(t, "integer", s.Type, where)
	case typ.Kind() == reflect.Bool:
		assert.Equal(t, "boolean", s.Type, where)
	case typ.Kind() == reflect.Map:
		assert.Equal(t, "object", s.Type, where)
		assert.JSONEq(t, `{"type":"string"}`, string(s.Additional), where)
	case typ.Kind() == reflect.Slice:
		require.Equal(t, "array", s.Type, where)
		d.compare(t, where+"[]", *s.Items, typ.Elem())
	case typ.Kind() == reflect.Struct:
		assert.Equal(t, "object", s.Type, where)
		assert.Equal(t, "false", string(s.Additional), where)
		names := fieldNames(typ)
		assert.Len(t, s.Properties, len(names), where)
		for i, name := range names {
			property, ok := s.Properties[name]
			if assert.True(t, ok, "%s: no %s", where, name) {
				d.compare(t, where+"."+name, property, typ.Field(i).Type)
			}
		}
	default:
		t.Fatalf("%s: what is %v?", where, typ)
	}
}

// TestOpenAPISaysWhichFieldsAreNeeded leaves each field out in turn.
func TestOpenAPISaysWhichFieldsAreNeeded(t *testing.T) {
	t.Parallel()
	const (
		endpoint     = "/wxa/business/getuserphonenumber"
		defaultAppID = "wx7b3c1f0e9d5a2468"
	)
	bodies := map[string]map[string]any{
		"codes":               {"phoneNumber": "13800000000", "purePhoneNumber": "13800000000", "countryCode": "86", "openid": "a", "appid": defaultAppID},
		"login-codes":         {"openid": "a", "appid": defaultAppID},
		"encrypted":           {"phoneNumber": "13800000000", "purePhoneNumber": "13800000000", "countryCode": "86", "openid": "a", "appid": defaultAppID},
		"cloud-ids":           {"phoneNumber": "13800000000", "purePhoneNumber": "13800000000", "countryCode": "86", "openid": "a", "appid": defaultAppID},
		"session-keys/rotate": {"openid": "a"},
		"tokens/revoke":       {},
		// Nothing listens at the URL, which is no matter of the answer.
		"platform/authorizations": {"appid": "wx0123456789abcdef", "url": "http://127.0.0.1:1/"},
		"platform/tickets":        {"url": "http://127.0.0.1:1/"},
		"platform/withdrawals":    {"appid": defaultAppID},
		"platform/pushes/repeat":  {},
		"reset":                   {},

		"platform/refresh-tokens/revoke": {"appid": defaultAppID},

		"faults":  {"endpoint": endpoint, "times": 0},
		"latency": {"endpoint": endpoint, "milliseconds": 0},
	}
	d := description(t)
	checked := 0
	for path, methods := range d.Paths {
		for method, op := range methods {
			if op.RequestBody == nil {
				continue
			}
			name := strings.TrimPrefix(path, Prefix)
			body, ok := bodies[name]
			require.True(t, ok, "no example of %s", path)
			required := d.resolve(t, op.RequestBody.Content["application/json"].Schema).Required
			assert.Equal(t, op.RequestBody.Required, len(required) > 0, path)
			whole, answer := send(t, strings.ToUpper(method), path, body)
			require.Equal(t, http.StatusOK, whole, "%s: %s", path, answer)
			for field := range body {
				checked++
				rest := make(map[string]any)
				for other, value := range body {
					if other != field {
						rest[other] = value
					}
				}
				if name == "faults" && field == "times" {
					continue // 0 is what makes kind needless
				}
				status, answer := send(t, strings.ToUpper(method), path, rest)
				assert.Equal(t, slices.Contains(required, field), status == http.StatusBadRequest, "%s without %s: %s", path, field, answer)
			}
		}
	}
	assert.Greater(t, checked, 10)
}

// TestAnswersAreAsDescribed asks a fake with something of everything, and holds
// each answer to its schema.
func TestAnswersAreAsDescribed(t *testing.T) {
	t.Parallel()
	api := description(t)
	d, err := New(Config{APISecurity: true})
	require.NoError(t, err)
	const endpoint = "/wxa/business/getuserphonenumber"
	for _, kind := range []string{`"errcode","errcode":-1`, `"status","status":502`, `"drop"`, `"lose"`} {
		answerOf(t, d, http.MethodPut, "/_fake/faults", `{"endpoint":"`+endpoint+`","kind":`+kind+`}`)
	}
	answerOf(t, d, http.MethodPut, "/_fake/latency", `{"endpoint":"`+endpoint+`","milliseconds":5}`)
	answerOf(t, d, http.MethodGet, "/nothing", "")
	for _, name := range []string{"health", "info", "faults", "requests"} {
		status, text := answerOf(t, d, http.MethodGet, Prefix+name, "")
		require.Equal(t, http.StatusOK, status)
		var answer any
		require.NoError(t, json.Unmarshal(text, &answer))
		api.hold(t, name, api.Paths[Prefix+name]["get"].Responses["200"].Content["application/json"].Schema, answer)
	}
	status, text := answerOf(t, d, http.MethodPost, "/_fake/codes", "{}")
	require.Equal(t, http.StatusBadRequest, status)
	var answer any
	require.NoError(t, json.Unmarshal(text, &answer))
	api.hold(t, "error", schema{Ref: "Error"}, answer)
}

// hold holds a value to a schema.
func (d described) hold(t *testing.T, where string, s schema, value any) {
	t.Helper()
	s = d.resolve(t, s)
	switch v := value.(type) {
	case map[string]any:
		require.Equal(t, "object", s.Type, where)
		for _, name := range s.Required {
			assert.Contains(t, v, name, where)
		}
		for name, field := range v {
			if property, ok := s.Properties[name]; ok {
				d.hold(t, where+"."+name, property, field)
			} else {
				assert.NotEqual(t, "false", string(s.Additional), "%s has %s", where, name)
			}
		}
	case []any:
		require.Equal(t, "array", s.Type, where)
		assert.NotEmpty(t, v, where)
		for _, item := range v {
			d.hold(t, where+"[]", *s.Items, item)
		}
	case string:
		assert.Equal(t, "string", s.Type, where)
		if len(s.Enum) > 0 {
			assert.Contains(t, s.Enum, v, where)
		}
	case float64:
		assert.Equal(t, "integer", s.Type, where)
	case bool:
		assert.Equal(t, "boolean", s.Type, where)
	default:
		t.Errorf("%s is %v", where, value)
	}
}

func send(t *testing.T, method, path string, body map[string]any) (int, []byte) {
	t.Helper()
	text, err := json.Marshal(body)
	require.NoError(t, err)
	d, err := New(Config{})
	require.NoError(t, err)
	// Some want an authorisation, and a push.
	answerOf(t, d, http.MethodPost, "/_fake/platform/authorizations", `{"url":"http://127.0.0.1:1/"}`)
	return answerOf(t, d, method, path, string(text))
}

func answerOf(t *testing.T, d *Desk, method, path, body string) (int, []byte) {
	t.Helper()
	w := httptest.NewRecorder()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Host = "localhost"
	d.ServeHTTP(w, req)
	text, err := io.ReadAll(w.Result().Body)
	require.NoError(t, err)
	return w.Code, text
}
